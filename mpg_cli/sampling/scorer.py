"""What the sampler needs of a model: scores of R rows, and rollback. Tensors and token ids only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What rows predict after each token: log-probabilities (R, B, N, T+1, V), float32, and the logsumexp of
    the logits that they come from, (R, B, N, T+1): the sum of the two are the logits.
    """

    log_probs: Tensor
    normaliser: Tensor


class Scorer(Protocol):
    """R rows (row 0 the reference) over B sequences and N candidates.

    The prompts are already read. `score` feeds everything committed that was not fed yet, then the
    draft; `commit` settles what of it stays. `Rows` of models/ is one, the tests' hand-written
    distributions are another.
    """

    rows: int
    batch: int
    candidates: int

    def score(self, drafts: Tensor) -> Scores:
        """drafts (B, N, T) -> the scores of T+1 positions: before the first token, and after each."""
        ...

    def check(self) -> None:
        """Raise NumericsError if `score` returned NaN; a GPU is waited for here, and not before."""
        ...

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """For each sequence: drop its last `drop` tokens (drafts fed, say), then append `tokens`.

        `winner` is the candidate whose draft stays (default 0).
        """
        ...


class StepScorer(Scorer, Protocol):
    """A scorer that holds drafted tokens one by one, and whose slots take other sequences."""

    def push(self, tokens: Tensor) -> None:
        """Hold one more drafted token for each sequence and candidate, (B, N); fed by the next `score`."""
        ...

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[Sequence[int]]]) -> None:
        """Read the prompts (ids by row) of other sequences in these slots."""
        ...

    def select(self, slots: Sequence[int]) -> None:
        """Go on with the sequences in these slots."""
        ...

    def clone(self, batch: int) -> StepScorer:
        """The same rows for other sequences, which `copy` takes over."""
        ...

    def copy(self, other: Any, theirs: Sequence[int], slots: Sequence[int]) -> None:
        """Continue in `slots` with the sequences that the clone has read in `theirs`."""
        ...


def padded(lists: Collection[Sequence[int]]) -> Tensor:
    """n lists as (n, longest) long, filled up with zeros on the right."""
    longest = max(map(len, lists), default=0)
    filled = [[*own, *[0] * (longest - len(own))] for own in lists]
    return torch.tensor(filled, dtype=torch.long).view(len(lists), longest)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. A GPU that is sent one from ordinary memory first ends all work before it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
