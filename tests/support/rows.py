"""A pool whose B slots all have the same rows, called with values for all slots at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import Row
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.plan import PassPlan
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.models.text.vocabulary import Vocabulary
from mpg_cli.sampling.scorer import Kept, Scores

BLOCK = 512  # prompt tokens of a pass


class AlikeRows:
    """R rows in each of B slots, N candidates of each."""

    def __init__(
        self,
        model: Any,
        names: Sequence[str] = ("reference",),
        *,
        adapters: Sequence[Row] = (),
        batch: int = 1,
        candidates: int = 1,
        vocabulary: Vocabulary | None = None,
        plan: PassPlan | None = None,
        block: int = BLOCK,
    ) -> None:
        """`adapters` are those of the last rows."""
        self.model, self.names, self.batch, self.candidates = model, names, batch, candidates
        self.vocabulary, self.block = vocabulary, block
        self.adapters = [()] * (len(names) - len(adapters)) + list(adapters)
        self.drafted = 0
        self.pool = RowPool(model, LoraBank.of(model) if adapters else None, plan)

    @property
    def read_tokens(self) -> int:
        return self.pool.read_tokens

    def prefill(self, prompts: Sequence[Sequence[Sequence[int]]]) -> None:
        """Read the prompts, ids by row, of all slots."""
        self.insert(range(self.batch), prompts)

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[Sequence[int]]]) -> None:
        """Read prompts in slots, whose sequences end."""
        new = {}
        for slot, of_slot in zip(slots, prompts, strict=True):
            self.pool.free(slot)
            named = zip(self.names, self.adapters, of_slot, strict=True)
            new[slot] = NewRows([NewRow(*row) for row in named], self.candidates, self.vocabulary)
        self.pool.insert(new)
        while self.pool.unread:
            self.pool.read(self.block)

    def score(self, drafts: Tensor | None = None) -> Scores:
        """The scores after drafts (B, N, T), by default of no token."""
        drafts = torch.zeros(self.batch, self.candidates, 0).long() if drafts is None else drafts
        self.drafted += drafts.shape[2]
        return self.pool.score(drafts, range(self.batch)).of(range(self.batch))

    def push(self, tokens: Tensor) -> None:
        """Drafted tokens (B, N)."""
        self.drafted += 1
        self.pool.push(tokens, range(self.batch))

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """The end of a round in every slot: the last `drop` drafted tokens are rejected."""
        best = winner or [0] * self.batch
        kept = {b: Kept(self.drafted - drop[b], tokens[b], best[b]) for b in range(self.batch)}
        self.pool.commit(kept)
        self.drafted = 0
