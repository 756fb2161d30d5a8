"""What the sampler needs of a model: scores of R rows, and rollback. Tensors and ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What rows say after each token: log-probabilities (R, B, N, T+1, V), float32, and the logsumexp of the
    logits that they come from, (R, B, N, T+1): the sum of the two are the logits.
    """

    log_probs: Tensor
    normaliser: Tensor


class Engine(Protocol):
    """R rows (row 0 the reference) over B sequences and N candidates.

    The prompts are already read. `score` feeds everything committed that was not fed yet, then the
    draft; `commit` settles what of it stays. `models.rows.Rows` is one, the tests' hand-written
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
        """For each sequence: drop its last `drop` tokens (drafts fed, say), then append `tokens`."""
        ...
