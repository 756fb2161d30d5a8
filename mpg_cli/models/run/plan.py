"""How work is divided into passes; a plan changes only speed and rounding.

`PassPlan` is the default. `accelerate` of models/fast sets a faster one on a model; the rows depend on this
interface alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

# Tokens (rows, T) and first positions (rows,) of a pass, on the device -> logits (rows, T, V).
Pass: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Recorder(Protocol):
    """Records passes and replays them."""

    def run(self, do: Pass, tokens: Tensor, start: Tensor, width: int, version: Hashable) -> Tensor:
        """Run `do(tokens, start)` or replay a recording of it; the result is valid until the next pass.

        `width` is the number of cache positions read, `version` changes with the storage of the cache and
        with the adapters of the rows.
        """
        ...


@dataclass(frozen=True)
class PassPlan:
    """Reads every prompt of every row separately, scores all sequences together, records nothing."""

    block: int = 512  # prompt tokens read between two rounds, over all rows: how long the others wait

    def read_together(self, missing: Sequence[int], budget: int) -> list[int]:
        """The rows, the first of them included, whose prompts share the next pass, by their places.

        `missing` are the tokens to read of each row; a pass reads about `budget` tokens.
        """
        return [0]

    def sequences_together(
        self, lengths: Sequence[int], position_bytes: int, weight_bytes: int
    ) -> list[list[int]]:
        """Groups of sequences that are scored in one pass, from their lengths in the cache.

        `position_bytes` is the size of a position of a sequence in the cache, `weight_bytes` the model size.
        """
        return [list(range(len(lengths)))]

    def width(self, needed: int, device: torch.device) -> int:
        """Number of cache positions that a pass reads; the mask hides those beyond `needed`."""
        return needed

    def step_width(self, keys: Tensor | None, needed: int) -> int:
        """The same for a pass of few tokens a row on a CPU, over keys (rows, heads, capacity, d)."""
        return needed

    def recorder(self) -> Recorder | None:
        """A recorder for the passes of one group of rows; None: they are not recorded."""
        return None

    def prepare_copy(self, copy: Any, model: Any) -> None:
        """Apply to a folded copy what the plan has applied to the model."""


PLAIN = PassPlan()


def plan_of(model: Any) -> PassPlan:
    """The plan of a model, PLAIN unless it was accelerated."""
    plan: PassPlan = getattr(model, "_mpg_plan", PLAIN)
    return plan
