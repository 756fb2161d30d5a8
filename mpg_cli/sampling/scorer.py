"""The interface between sampler and model: scores of R rows, and rollback. Tensors and token ids only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Next-token log-probabilities of R rows, (R, B, N, T+1, V) float32, and `normaliser`, the logsumexp of
    their logits, (R, B, N, T+1); the logits are the sum of the two.
    """

    log_probs: Tensor
    normaliser: Tensor


class Scorer(Protocol):
    """R rows (row 0 the reference) over B sequences and N candidates.

    The prompts are prefilled. `score` feeds the committed tokens that are still pending, then the draft;
    `commit` keeps its accepted prefix. Implemented by `Rows` of models/ and by the tests' hand-written
    distributions.
    """

    rows: int
    batch: int
    candidates: int

    def score(self, drafts: Tensor) -> Scores:
        """drafts (B, N, T) -> the scores of T+1 positions: before the first token, and after each."""
        ...

    def check(self) -> None:
        """Raise NumericsError if `score` returned NaN. The only call that waits for a GPU."""
        ...

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """For each sequence: drop its last `drop` tokens (rejected drafts), then append `tokens`.

        `winner` is the candidate whose draft stays (default 0).
        """
        ...


class StepScorer(Scorer, Protocol):
    """A scorer that takes drafted tokens one at a time, and new sequences into its slots."""

    def push(self, tokens: Tensor) -> None:
        """Append a drafted token (B, N) for each sequence and candidate, to be fed by the next `score`."""
        ...

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[Sequence[int]]]) -> None:
        """Prefill the prompts (ids by row) of new sequences in these slots."""
        ...

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences of these slots, in this order."""
        ...

    def clone(self, batch: int) -> StepScorer:
        """The same rows, empty, for `batch` other sequences; see `copy`."""
        ...

    def copy(self, other: Any, source: Sequence[int], slots: Sequence[int]) -> None:
        """Copy the sequences in the slots `source` of a clone into `slots`."""
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
