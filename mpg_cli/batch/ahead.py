"""Prompts that are read before a place is free: short ones share a pass, which one by one they would not."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from mpg_cli.engine.blend_rows import Lineup
from mpg_cli.engine.sequence import Job
from mpg_cli.models.run.rows import Rows

PLACES, SHORT = 16, 64  # prompts, and tokens of each: longer ones fill a pass by themselves


def places_ahead(batch: int) -> int:
    """How many prompts may be read ahead of a batch: their keys take a tenth of the room it is meant for."""
    return min(PLACES, batch // 2)


def is_short(job: Job) -> bool:
    """Whether reading the prompts of a job is mostly the start of a pass."""
    return max(map(len, (*job.prompts, job.draft))) <= SHORT


class PrefillAhead:
    """The rows of a lineup and its drafter's once more, for prompts alone."""

    def __init__(self, lineup: Lineup) -> None:
        self._lineup, self.size = lineup, places_ahead(lineup.batch)
        self._rows = Rows([group.clone(self.size) for group in lineup.rows.groups])
        self._drafter = lineup.draft.drafter.clone(self.size)
        self._next = 0  # place of the next prompt that begins
        self.seconds = 0.0  # that reading each of the last ones took

    def read(self, jobs: Sequence[Job]) -> None:
        """Read the prompts of these jobs, no more than `places_ahead` says; those from before are gone."""
        began = perf_counter()
        self._rows.insert(range(len(jobs)), [job.prompts for job in jobs])
        self._drafter.insert(range(len(jobs)), [job.draft for job in jobs])
        self._next, self.seconds = 0, (perf_counter() - began) / len(jobs)

    def seat(self, places: Sequence[int]) -> None:
        """The lineup goes on in these places with the next prompts that were read."""
        read = range(self._next, self._next + len(places))
        self._next = read.stop
        for group, twin in zip(self._lineup.rows.groups, self._rows.groups, strict=True):
            group.copy(twin, read, places)
        self._lineup.draft.drafter.copy(self._drafter, read, places)
