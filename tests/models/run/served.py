"""Rows of a tiny model, with PEFT's uncached forward pass to compare them with."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.plan import PassPlan
from tests.support.adapters import peft_log_probs, tiny_adapter
from tests.support.models import random_tokens, tiny_model
from tests.support.rows import BLOCK, AlikeRows

CLOSE = 1e-5


class Served:
    """Rows of a tiny model: the reference, a prompt-only expert, two adapters of different rank."""

    def __init__(
        self,
        architecture: str,
        folder: Path,
        batch: int = 1,
        candidates: int = 1,
        plan: PassPlan | None = None,
        block: int = BLOCK,
    ) -> None:
        self.architecture = architecture
        self.folders = [tiny_adapter(folder / "a", architecture, seed=1, r=3, use_rslora=True)]
        self.folders.append(tiny_adapter(folder / "b", architecture, seed=2, r=6))
        model = tiny_model(architecture)
        adapters = [read_adapter(path, path.name) for path in self.folders]
        adapters = [fit_adapter(adapter, model) for adapter in adapters]
        self.rows = AlikeRows(
            model,
            ["reference", "prompt", "a", "b"],
            adapters=[((adapter, 1.0),) for adapter in adapters],
            batch=batch,
            candidates=candidates,
            plan=plan,
            block=block,
        )
        self.known: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def expected(self, row: int, stream: list[int], last: int) -> Tensor:
        """Log-probabilities (last, V) after each of the last tokens of the stream, by PEFT, uncached."""
        adapter = None if row < 2 else self.folders[row - 2]
        return peft_log_probs(self.architecture, adapter, torch.tensor([stream]))[0, -last:]


def prompts(lengths: list[int], seed: int) -> list[list[int]]:
    """One prompt a row; the reference and the adapters share the plain one, the prompt expert has more."""
    plain = random_tokens(1, lengths[0], seed)[0].tolist()
    longer = [*random_tokens(1, lengths[1], seed + 1)[0].tolist(), *plain]
    return [plain, longer, plain, plain]


def fail_at(model: Any, call: int, error: type[BaseException]) -> RemovableHandle:
    """Let the given pass of the model fail."""
    calls = count(1)

    def hook(*_: object) -> None:
        if next(calls) == call:
            raise error

    handle: RemovableHandle = model.register_forward_pre_hook(hook)
    return handle
