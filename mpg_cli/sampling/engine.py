"""What the sampler needs of a model: log-probabilities of R rows, and rollback. Tensors and ids only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Engine(Protocol):
    """R rows (row 0 the reference) over B sequences and N candidates.

    The prompts are already read. `extend` feeds everything committed that was not fed yet, then the
    draft; `commit` settles what of it stays. `models.rows.Rows` is one, the tests' hand-written
    distributions are another.
    """

    rows: int
    batch: int
    candidates: int

    def extend(self, drafts: Tensor) -> Tensor:
        """drafts (B, N, T) -> log-probabilities (R, B, N, T+1, V) after each token, float32."""
        ...

    def check(self) -> None:
        """Raise NumericsError if `extend` returned NaN; a GPU is waited for here, and not before."""
        ...

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """For each sequence: drop its last `drop` tokens (drafts fed, say), then append `tokens`."""
        ...
