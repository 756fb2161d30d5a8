"""The row of a drafter, stepped token by token without synchronising with the device within a chunk.

On a GPU every read synchronises. So drafted tokens stay on the device, and NaN is checked in `commit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mpg_cli.models.run.row_group import RowGroup
from mpg_cli.sampling.scorer import Scores


class StepRow(RowGroup):
    """One row that feeds pushed tokens without a copy from their device."""

    def __init__(self, model: Any, names: Sequence[str], **options: Any) -> None:
        self._pushed: Tensor | None = None  # (B, N)
        super().__init__(model, names, **options)

    def reset(self) -> None:
        """Empty the cache and drop pushed tokens."""
        super().reset()
        self._pushed = None

    def score(self, drafts: Tensor) -> Scores:
        """See `RowGroup.score`; `commit` checks."""
        pushed, self._pushed = self._pushed, None
        if pushed is None:
            return super().score(drafts)
        if drafts.shape[2]:
            super().push(pushed)
            return super().score(drafts)
        tokens = pushed.expand(self.rows, -1, -1)[..., None]  # (R, B, N, 1)
        logits = self._logits(tokens)  # (R, B, N, 1, V)
        self.cached += 1
        return self._scores(logits)

    def push(self, tokens: Tensor) -> None:
        """Append one token to each candidate of each sequence, (B, N); the next pass feeds it."""
        self._flush()
        if bool(self.pending.counts.any()):
            super().push(tokens)
        else:
            self._pushed = tokens

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """See `RowGroup.commit`. Raises NumericsError where the row has returned NaN."""
        self._flush()
        self.check()
        super().commit(drop, tokens, winner)

    def _flush(self) -> None:
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            super().push(pushed)
