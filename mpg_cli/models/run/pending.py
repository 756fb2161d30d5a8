"""Pending tokens: committed or drafted tokens that are not in the cache yet. The next pass feeds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.sampling.scorer import padded


class PendingTokens:
    """The pending tokens of B sequences, (R, B, N, W): the first `counts[b]` of each, then padding."""

    def __init__(self, rows: int, batch: int, candidates: int) -> None:
        self.tokens = torch.zeros(rows, batch, candidates, 0, dtype=torch.long)
        self.counts = torch.zeros(batch, dtype=torch.long)

    def insert(self, slots: Sequence[int], last: Tensor) -> None:
        """Start new sequences in these slots, with the last prompt token of each row (R, P) pending."""
        self._widen(1)
        self.tokens[..., 0][:, list(slots)] = last[:, :, None]
        self.counts[list(slots)] = 1

    def append(self, tokens: Tensor) -> None:
        """Append a token to each candidate of each sequence, (B, N)."""
        self._put(tokens[:, :, None])
        self.counts = self.counts + 1

    def commit(self, drop: Tensor, new: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """Drop the last `drop` (B,) pending tokens of each sequence, at most all of them, and append `new`.

        All candidates continue with the pending tokens of the winner.
        """
        if self.tokens.shape[2] > 1:
            of_winner = torch.tensor(winner).view(1, -1, 1, 1).expand(self.tokens.shape)  # (R, B, N, W)
            self.tokens = self.tokens.gather(2, of_winner)
        self.counts = (self.counts - drop).clamp(min=0)
        self._put(padded(new)[:, None])  # (B, 1, n)
        self.counts = self.counts + torch.tensor([len(tokens) for tokens in new])

    def with_drafts(self, drafts: Tensor) -> Tensor:
        """The pending tokens followed by drafts (B, N, T): (R, B, N, W+T)."""
        self._put(drafts)
        return self.tokens[..., : int(self.counts.max()) + drafts.shape[2]]  # (R, B, N, W+T)

    def clear(self) -> None:
        """Drop all pending tokens after they were fed."""
        self.counts = torch.zeros_like(self.counts)

    def select(self, slots: Tensor) -> None:
        """Keep the sequences in these slots (n,), in this order."""
        self.tokens, self.counts = self.tokens[:, slots], self.counts[slots]

    def _put(self, tokens: Tensor) -> None:
        """Write tokens (B, 1 or N, n) after the pending ones, without counting them."""
        n = tokens.shape[2]
        self._widen(int(self.counts.max()) + n)
        index = self.counts[:, None] + torch.arange(n)  # (B, n)
        shape = (*self.tokens.shape[:3], n)
        self.tokens.scatter_(3, index[:, None].expand(shape), tokens.expand(shape))

    def _widen(self, width: int) -> None:
        more = width - self.tokens.shape[3]
        if more > 0:
            self.tokens = torch.nn.functional.pad(self.tokens, (0, more))
