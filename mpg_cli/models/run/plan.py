"""How the passes of a model are made, as far as that changes their time and the rounding, and nothing else.

`PassPlan` is the plain way. models/fast has another one, which `accelerate` gives to a model; the rows ask
the plan of their model and know no more about what makes passes fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

# Tokens (rows, T) and first positions (rows,) of a pass, on the device -> logits (rows, T, V).
Pass: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Recorder(Protocol):
    """Records passes and replays them."""

    def run(self, do: Pass, tokens: Tensor, start: Tensor, width: int, version: int) -> Tensor:
        """`do(tokens, start)` or a replay of it; valid until the next pass.

        `width` is how many positions of the cache are read, `version` changes when the cache has moved.
        """
        ...


@dataclass(frozen=True)
class PassPlan:
    """Every prompt of every row is read alone, all sequences are scored together, nothing is recorded."""

    prefill_block: int = 512  # prompt tokens a pass, over its sequences: bounds the memory of long prompts

    def prompts_together(self, missing: Mapping[int, int]) -> list[list[int]]:
        """Slots whose prompts share passes, by how many tokens have to be read there."""
        return [[slot] for slot in missing]

    def rows_together(self, missing: Sequence[int]) -> list[range]:
        """Neighbouring rows that share passes, by how many tokens each has to read; not those with none."""
        return [range(row, row + 1) for row, amount in enumerate(missing) if amount]

    def sequences_together(
        self, lengths: Sequence[int], position_bytes: int, weight_bytes: int
    ) -> list[list[int]]:
        """Sequences that are scored in one pass, by the positions that each has in the cache.

        `position_bytes` is what one position of one sequence takes there, `weight_bytes` the model's size.
        """
        return [list(range(len(lengths)))]

    def width(self, needed: int, device: torch.device) -> int:
        """How many positions of the cache a pass reads; the mask hides those beyond the ones needed."""
        return needed

    def step_width(self, keys: Tensor | None, needed: int) -> int:
        """The same for a pass of few tokens a row on a CPU, of a layer's keys (rows, heads, capacity, d)."""
        return needed

    def recorder(self) -> Recorder | None:
        """What records the passes of one group of rows, if they are recorded."""
        return None

    def prepare_copy(self, copy: Any, model: Any) -> None:
        """Give a folded copy of the model what its plan has given to the model."""


PLAIN = PassPlan()


def plan_of(model: Any) -> PassPlan:
    """The plan of a model: the plain one unless it was accelerated."""
    plan: PassPlan = getattr(model, "_mpg_plan", PLAIN)
    return plan
