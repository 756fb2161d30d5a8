"""What happens in the middle of a run: at a step of training, or at a forward pass."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import PreTrainedModel


@contextlib.contextmanager
def before_steps(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each step of an optimiser, from 1, before the weights change."""
    numbers = itertools.count(1)
    handle = register_optimizer_step_pre_hook(lambda *_: act(next(numbers)))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def after_passes(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each pass that a language model has made, from 1."""
    numbers = itertools.count(1)

    def made(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(module, PreTrainedModel) and hasattr(output, "logits"):
            act(next(numbers))

    handle = register_module_forward_hook(made)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def models_of_passes() -> Iterator[dict[PreTrainedModel, list[list[int]]]]:
    """The language models that make passes, each with the tokens of the first row of each pass."""
    found: dict[PreTrainedModel, list[list[int]]] = {}

    def made(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(module, PreTrainedModel) and hasattr(output, "logits") and "input_ids" in kwargs:
            found.setdefault(module, []).append(kwargs["input_ids"][0].tolist())

    handle = register_module_forward_hook(made, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()
