"""Prefilling before a slot is free: short prompts share a pass, which one by one they would not."""

from __future__ import annotations

from collections import abc
from time import perf_counter

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.sequence import Sequence
from mpg_cli.models.rows import Rows
from mpg_cli.sampling.drafters import LookupDrafter, RowDrafter

SLOTS, SHORT = 16, 64  # prompts, and tokens of each: longer ones fill a pass by themselves


def slots_ahead(batch: int) -> int:
    """How many prompts may be prefilled ahead of a batch: their keys take a tenth of its cache."""
    return min(SLOTS, batch // 2)


def is_short(sequence: Sequence) -> bool:
    """Whether prefilling a sequence is mostly the fixed cost of a pass."""
    return sequence.prompts.longest <= SHORT


class PrefillAhead:
    """A second copy of a blend's rows and its drafter's, for prompts alone."""

    def __init__(self, rows: BlendRows) -> None:
        self._blend_rows, self.size = rows, slots_ahead(rows.batch)
        self._rows = Rows([group.twin(self.size) for group in rows.rows.groups])
        draft = rows.draft.group if rows.draft else None
        self._draft = draft.twin(self.size) if draft else None
        self._next = 0  # slot of the next prompt to be inserted
        self.seconds = 0.0  # of prefill, for each prompt of the last pass

    def prefill(self, sequences: abc.Sequence[Sequence]) -> None:
        """Read the prompts of these sequences, at most `slots_ahead`; earlier ones are dropped."""
        began = perf_counter()
        self._rows.replace(range(len(sequences)), [own.prompts.rows for own in sequences])
        if self._draft:
            self._draft.replace(range(len(sequences)), [[own.prompts.draft] for own in sequences])
        self._next, self.seconds = 0, (perf_counter() - began) / len(sequences)

    def insert(
        self,
        slots: abc.Sequence[int],
        drafts: abc.Sequence[abc.Sequence[int]],
        drafter: RowDrafter | LookupDrafter | None,
    ) -> None:
        """Copy the next prefilled prompts into these slots of the blend; `drafts` are the drafter's."""
        ready = range(self._next, self._next + len(slots))
        self._next = ready.stop
        for group, ahead in zip(self._blend_rows.rows.groups, self._rows.groups, strict=True):
            group.adopt(ahead, ready, slots)
        if isinstance(drafter, LookupDrafter):
            for b, draft in zip(slots, drafts, strict=True):
                drafter.replace(b, draft)
        elif self._draft and self._blend_rows.draft and self._blend_rows.draft.group:
            self._blend_rows.draft.group.adopt(self._draft, ready, slots)
