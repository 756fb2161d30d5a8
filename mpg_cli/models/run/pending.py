"""Tokens that sequences have and their cache has not: committed or drafted, to be fed by the next pass.

Behind a sequence's own tokens there is filler.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.sampling.tensors import padded


class Backlog:
    """What waits for B sequences: the first `waiting[b]` of `tokens[:, b]`, (R, B, N, W) in all."""

    def __init__(self, rows: int, batch: int, candidates: int) -> None:
        self.tokens = torch.zeros(rows, batch, candidates, 0, dtype=torch.long)
        self.waiting = torch.zeros(batch, dtype=torch.long)

    def begin(self, places: Sequence[int], last: Tensor) -> None:
        """Other sequences in these places: the last token of each row's prompt waits, (R, P)."""
        self._widen(1)
        self.tokens[..., 0][:, list(places)] = last[:, :, None]
        self.waiting[list(places)] = 1

    def append(self, tokens: Tensor) -> None:
        """One more token for each candidate of each sequence, (B, N)."""
        self._put(tokens[:, :, None])
        self.waiting = self.waiting + 1

    def settle(self, drop: Tensor, new: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """Each sequence drops its last `drop` (B,) tokens, as many as wait, and appends `new`.

        All candidates go on with what waits for the winner.
        """
        if self.tokens.shape[2] > 1:
            of_winner = torch.tensor(winner).view(1, -1, 1, 1).expand(self.tokens.shape)  # (R, B, N, W)
            self.tokens = self.tokens.gather(2, of_winner)
        self.waiting = (self.waiting - drop).clamp(min=0)
        self._put(padded(new)[:, None])  # (B, 1, n)
        self.waiting = self.waiting + torch.tensor([len(tokens) for tokens in new])

    def before(self, drafts: Tensor) -> Tensor:
        """All that waits with drafts (B, N, T) behind it, (R, B, N, W+T)."""
        self._put(drafts)
        return self.tokens[..., : int(self.waiting.max()) + drafts.shape[2]]  # (R, B, N, W+T)

    def clear(self) -> None:
        """Nothing waits any more: it has been fed."""
        self.waiting = torch.zeros_like(self.waiting)

    def select(self, places: Tensor) -> None:
        """Go on with the sequences in these places (n,)."""
        self.tokens, self.waiting = self.tokens[:, places], self.waiting[places]

    def _put(self, tokens: Tensor) -> None:
        """Tokens (B, 1 or N, n) behind those that wait."""
        n = tokens.shape[2]
        self._widen(int(self.waiting.max()) + n)
        place = self.waiting[:, None] + torch.arange(n)  # (B, n)
        shape = (*self.tokens.shape[:3], n)
        self.tokens.scatter_(3, place[:, None].expand(shape), tokens.expand(shape))

    def _widen(self, width: int) -> None:
        more = width - self.tokens.shape[3]
        if more > 0:
            self.tokens = torch.nn.functional.pad(self.tokens, (0, more))
