"""Prefilling before a slot is free, so that short prompts share a pass."""

from __future__ import annotations

from collections import abc
from time import perf_counter

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.sequence import Sequence
from mpg_cli.models.run.rows import Rows

SLOTS, SHORT = 16, 64  # prompts, and tokens of each; a longer prompt fills a pass alone


def slots_ahead(batch: int) -> int:
    """How many prompts are prefilled ahead of a batch; they take about a tenth of its cache."""
    return min(SLOTS, batch // 2)


def is_short(sequence: Sequence) -> bool:
    """Whether the fixed cost of a pass dominates the prefill of a sequence."""
    return sequence.prompts.longest <= SHORT


class PrefillAhead:
    """A second copy of the rows and the drafter of a blend, for prompts only."""

    def __init__(self, rows: BlendRows) -> None:
        self._blend_rows, self.size = rows, slots_ahead(rows.batch)
        self._rows = Rows([group.clone(self.size) for group in rows.rows.groups])
        self._drafter = rows.draft.drafter.clone(self.size)
        self._next = 0  # slot of the next prompt to be inserted
        self.seconds = 0.0  # of prefill, for each prompt of the last pass

    def prefill(self, sequences: abc.Sequence[Sequence]) -> None:
        """Prefill these sequences, at most `slots_ahead`; earlier ones are dropped."""
        began = perf_counter()
        self._rows.insert(range(len(sequences)), [own.prompts.rows for own in sequences])
        self._drafter.insert(range(len(sequences)), [own.prompts.draft for own in sequences])
        self._next, self.seconds = 0, (perf_counter() - began) / len(sequences)

    def insert(self, slots: abc.Sequence[int]) -> None:
        """Copy the next prefilled prompts into these slots of the blend."""
        ready = range(self._next, self._next + len(slots))
        self._next = ready.stop
        for group, ahead in zip(self._blend_rows.rows.groups, self._rows.groups, strict=True):
            group.copy(ahead, ready, slots)
        self._blend_rows.draft.drafter.copy(self._drafter, ready, slots)
