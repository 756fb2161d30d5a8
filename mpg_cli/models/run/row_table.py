"""The physical rows of a pool: their weights, their slots, their lengths and their pending tokens.

Pending tokens are committed or drafted tokens that are not in the cache yet. The next pass feeds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import Row, RowKey

FREE = -1  # in place of a slot


class RowTable:
    """P physical rows. `owner` is the slot of each (or FREE), `row` and `candidate` are their numbers in it.

    `cached` tokens are in the cache, of which `shared` are equal in all candidates; `counts` further ones are
    pending, the first of `pending` (P, W). The last `drafted` of all these are not committed.
    """

    def __init__(self) -> None:
        self.adapters: list[Row] = []
        self.keys: list[RowKey] = []
        none = torch.zeros(0, dtype=torch.long)
        self.owner = self.row = self.candidate = none
        self.cached = self.shared = self.counts = self.drafted = none
        self.pending = torch.zeros(0, 1, dtype=torch.long)
        self._ages: dict[RowKey, int] = {}  # the order in which keys came

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def free(self) -> list[int]:
        """Rows without a slot."""
        found: list[int] = (self.owner == FREE).nonzero().flatten().tolist()
        return found

    def grow(self, more: int) -> None:
        """Add free rows without adapters."""
        self.keys += [()] * more
        self.adapters += [()] * more
        self.owner = torch.nn.functional.pad(self.owner, (0, more), value=FREE)
        for name in ("row", "candidate", "cached", "shared", "counts", "drafted"):
            setattr(self, name, torch.nn.functional.pad(getattr(self, name), (0, more)))
        self.pending = torch.nn.functional.pad(self.pending, (0, 0, 0, more))

    def arranged(self, rows: Sequence[int]) -> list[int]:
        """These rows, ordered by weights, then by their numbers in their slots.

        So the rows of one adapter are neighbours, and the scores of alike slots need no copy.
        """
        for row in rows:
            self._ages.setdefault(self.keys[row], len(self._ages))
        of = [self.row.tolist(), self.owner.tolist(), self.candidate.tolist()]
        return sorted(rows, key=lambda row: (self._ages[self.keys[row]], *(numbers[row] for numbers in of)))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        index = torch.tensor(list(rows), dtype=torch.long)
        self.adapters = [self.adapters[row] for row in rows]
        self.keys = [self.keys[row] for row in rows]
        for name in ("owner", "row", "candidate", "cached", "shared", "counts", "drafted", "pending"):
            setattr(self, name, getattr(self, name)[index])

    def starts(self, rows: Tensor | None) -> int | Tensor:
        """The first positions that a pass of these rows (n,) (None: all) writes; an int if all are equal."""
        cached = self.cached if rows is None else self.cached[rows]  # (n,)
        first = int(cached[0])
        return first if bool((cached == first).all()) else cached

    # -- tokens ----------------------------------------------------------------------------------

    def start(self, row: int, token: int) -> None:
        """Begin a sequence after its prompt, whose last token is pending."""
        self.shared[row] = self.cached[row]
        self.pending[row, 0], self.counts[row], self.drafted[row] = token, 1, 0

    def append(self, rows: Tensor, tokens: Tensor) -> None:
        """Append a drafted one of `tokens` (B, N), that of its candidate, to each of these rows (n,)."""
        self._widen(int(self.counts[rows].max()) + 1)
        lane = self.owner[rows] * tokens.shape[1] + self.candidate[rows]
        self.pending[rows, self.counts[rows]] = tokens.flatten()[lane]
        self.counts[rows] += 1

    def commit(self, rows: Tensor, accepted: Tensor, tokens: Tensor, lengths: Tensor) -> None:
        """Of these rows (n,): drop the drafted tokens, pending or cached, after the first `accepted` (n,),
        then append the first `lengths` (n,) of `tokens` (n, W).
        """
        drop, counts = (self.drafted[rows] - accepted).clamp(min=0), self.counts[rows]
        self.cached[rows] -= (drop - counts).clamp(min=0)
        counts = (counts - drop).clamp(min=0)
        self._widen(int(counts.max()) + tokens.shape[1])
        self.pending[rows[:, None], counts[:, None] + torch.arange(tokens.shape[1])] = tokens
        self.counts[rows], self.drafted[rows] = counts + lengths, 0

    def fed(self, rows: Tensor) -> None:
        """Count the pending tokens of these rows (n,) as cached."""
        self.cached[rows] += self.counts[rows]
        self.counts = self.counts.clone()  # a pass may still refer to the old ones
        self.counts[rows] = 0

    def with_drafts(self, rows: Tensor, drafts: Tensor) -> Tensor:
        """The pending tokens of all rows, followed by drafts (P, T): (P, W + T).

        W is the most pending tokens of `rows` (n,).
        """
        T = drafts.shape[1]
        fed = int(self.counts[rows].max()) + T
        tokens = torch.zeros(len(self), fed, dtype=torch.long)  # (P, W+T)
        width = min(fed, self.pending.shape[1])
        tokens[:, :width] = self.pending[:, :width]
        if T:
            at = self.counts.clamp(max=fed - T)[:, None] + torch.arange(T)  # (P, T)
            tokens.scatter_(1, at, drafts)
        return tokens

    def _widen(self, width: int) -> None:
        more = width - self.pending.shape[1]
        if more > 0:
            self.pending = torch.nn.functional.pad(self.pending, (0, more))
