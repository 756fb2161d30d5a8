"""Something that happens during a run's training, at one of its steps."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

from torch.optim.optimizer import register_optimizer_step_pre_hook


@contextlib.contextmanager
def before_steps(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each step of an optimiser, from 1, before the weights change."""
    numbers = itertools.count(1)
    handle = register_optimizer_step_pre_hook(lambda *_: act(next(numbers)))
    try:
        yield
    finally:
        handle.remove()
