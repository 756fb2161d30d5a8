"""The interface between sampler and model: scores of the rows of each slot, and rollback. Tensors and token
ids only.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Next-token log-probabilities of the rows of b alike slots, (R, b, N, P, V) float32, and `normaliser`,
    the logsumexp of their logits, (R, b, N, P); the logits are the sum of the two.
    """

    log_probs: Tensor
    normaliser: Tensor

    @property
    def bad(self) -> Tensor:
        """Where a row has returned NaN, (R, b); a NaN logit makes its whole distribution NaN."""
        return self.normaliser.isnan().flatten(2).any(dim=2)


class Scored(Protocol):
    """The result of a pass over all slots."""

    def of(self, slots: Sequence[int]) -> Scores:
        """The scores of alike slots at P = T+1 positions: before the first drafted token, and after each."""
        ...


@dataclass(frozen=True)
class Kept:
    """The end of a round in one slot: of the tokens drafted since the last one the first `accepted` stay (-1:
    the last committed token goes as well), then `tokens` follow. `winner` is the candidate whose draft stays.
    """

    accepted: int
    tokens: Sequence[int]
    winner: int = 0


class Scorer(Protocol):
    """Rows (row 0 of a slot the reference) over B slots, whose prompts are prefilled.

    `score` feeds the committed tokens that are still pending, then the draft; `commit` keeps its accepted
    prefix. Implemented by the rows of models/ and by the tests' hand-written distributions.
    """

    def score(self, drafts: Tensor, slots: Sequence[int]) -> Scored:
        """One pass over these slots with drafts (B, N, T) of all slots; N is the most candidates of any."""
        ...

    def alike(self, slot: int) -> Hashable:
        """Slots with equal values can be given to `Scored.of` together."""
        ...

    def name(self, slot: int, row: int) -> str:
        """The name of a row, for messages."""
        ...

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """End the round in these slots."""
        ...


class StepScorer(Scorer, Protocol):
    """A scorer that takes drafted tokens one at a time."""

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        """Append a drafted token (B, N) in these slots, to be fed by the next `score`."""
        ...


def padded(lists: Collection[Sequence[int]]) -> Tensor:
    """n lists as (n, longest) long, padded with zeros on the right."""
    longest = max(map(len, lists), default=0)
    filled = [[*own, *[0] * (longest - len(own))] for own in lists]
    return torch.tensor(filled, dtype=torch.long).view(len(lists), longest)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. A copy to a GPU is pinned: one from pageable memory would synchronise."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
