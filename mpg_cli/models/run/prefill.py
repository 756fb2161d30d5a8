"""The prompts of physical rows that are not in the cache yet: what the next pass reads, what is copied.

A prefix that a row of equal weights has in its cache, in a slot or not, is copied. Of rows with the same
weights and prompt one, their leader, reads it; then the others copy it. So the next turn of a conversation
costs its new tokens, another sample of a prompt nothing, and two blends read the prompt of the reference, or
of a persona in both, once. Knows no model: the pool runs the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import RowKey
from mpg_cli.models.run.cache import PositionCache
from mpg_cli.models.run.plan import PassPlan
from mpg_cli.models.run.row_table import RowTable
from mpg_cli.sampling.scorer import padded

WORTH_COPYING = 8  # tokens of a prefix; fewer are read again

Prompt: TypeAlias = tuple[RowKey, tuple[int, ...]]  # weights, and all tokens but the last


@dataclass
class _Reading:
    """The prompt of a physical row that is not in its cache yet.

    `leader` is a row with the same prompt that reads it; then it is copied.
    """

    prompt: Prompt
    last: int
    leader: int | None = None
    begun: bool = False


class Prefill:
    """The unread prompts of the rows of a table, whose keys and values are in a cache."""

    def __init__(self, table: RowTable, cache: PositionCache) -> None:
        self._table, self._cache = table, cache
        self._readings: dict[int, _Reading] = {}  # by physical row, the oldest first

    def is_read(self, rows: Iterable[int]) -> bool:
        """Whether the prompts of these rows are in the cache."""
        return self._readings.keys().isdisjoint(rows)

    @property
    def unread(self) -> int:
        """Prompt tokens that are still to be read."""
        return sum(map(self._missing, self._leaders()))

    def common(self, prompts: Sequence[Prompt]) -> list[dict[int, int]]:
        """For each of these prompts: the rows that have its weights and a prefix in their cache, with its
        length.
        """
        found: list[dict[int, int]] = [{} for _ in prompts]
        alike, cached = dict[RowKey, list[int]](), self._table.cached.tolist()
        for place, (key, ids) in enumerate(prompts):
            if ids:
                alike.setdefault(key, []).append(place)
        for key, places in alike.items():
            rows = [row for row, own in enumerate(self._table.keys) if own == key and cached[row]]
            if rows:
                index, tokens = torch.tensor(rows), [prompts[place][1] for place in places]
                most = torch.tensor([[len(own)] for own in tokens]).minimum(self._table.cached[index])
                lengths = self._cache.common(index, padded(tokens)).minimum(most)  # (n, R)
                for place, of_rows in zip(places, lengths.tolist(), strict=True):
                    found[place] = dict(zip(rows, of_rows, strict=True))
        return found

    def choose(self, known: Sequence[Mapping[int, int]]) -> list[int]:
        """A free row for each new prompt, if possible one that has the most of it, as `common` says. Without
        enough of them the table grows.
        """
        table, free, found = self._table, dict.fromkeys(self._table.free), dict[int, int]()
        for place, lengths in enumerate(known):
            alike = [row for row in lengths if row in free]
            if alike:
                # Where it makes no difference the first: slots whose rows are in their order need no copies.
                found[place] = max(alike, key=lambda row: lengths[row] // WORTH_COPYING)
                del free[found[place]]
        missing = len(known) - len(found) - len(free)
        if missing > 0:
            free |= dict.fromkeys(range(len(table), len(table) + missing))
            table.grow(missing)
        cached: list[int] = table.cached.tolist()
        rest = iter(sorted(free, key=cached.__getitem__))  # the shortest caches are the least useful
        return [found[place] if place in found else next(rest) for place in range(len(known))]

    def begin(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], known: Sequence[Mapping[int, int]]
    ) -> None:
        """Give rows their prompts, last tokens included; what is `known`, as `common` says, is copied."""
        table = self._table
        for row, own in zip(rows, known, strict=True):
            table.cached[row] = own.get(row, 0)
        valid: list[int] = table.cached.tolist()  # copies write behind these
        leaders = {self._readings[row].prompt: row for row in self._leaders()}
        found: dict[int, Mapping[int, int]] = {}
        for row, ids, lengths in zip(rows, prompts, known, strict=True):
            prompt = table.keys[row], tuple(ids[:-1])
            leader = leaders.setdefault(prompt, row)
            self._readings[row] = _Reading(prompt, ids[-1], None if leader == row else leader)
            if leader == row:
                found[row] = {other: min(n, valid[other]) for other, n in lengths.items()}
        self._copy(self, found)

    def read(self, plan: PassPlan, budget: int, run: Callable[[Tensor, Tensor], None]) -> int:
        """Read the next block of the oldest unread prompts, about `budget` tokens of all rows, in one pass:
        `run(tokens, rows)` with tokens (n, T) of physical rows (n,). Returns the number of tokens.
        """
        leaders = self._leaders()
        if not leaders:
            return 0
        for row in leaders:
            self._readings[row].begun = True
        together = plan.read_together([self._missing(row) for row in leaders], budget)
        rows = sorted(leaders[place] for place in together)
        block, begins = max(1, budget // len(rows)), self._table.cached[rows].tolist()
        prompts = [self._readings[row].prompt[1] for row in rows]
        parts = [ids[begin : begin + block] for ids, begin in zip(prompts, begins, strict=True)]
        run(padded(parts), torch.tensor(rows))
        self._table.cached[rows] += torch.tensor([len(part) for part in parts])
        for row in rows:
            self._finish_if_read(row)
        return sum(map(len, parts))

    def copy_from(self, other: Prefill) -> None:
        """Copy what rows of another pool of the model have cached of prompts that are about to be read."""
        self._copy_common(other, [row for row in self._leaders() if not self._readings[row].begun])

    def drop(self, rows: Sequence[int]) -> None:
        """Forget the prompts of rows; where a leader goes, the first row with the same prompt takes over."""
        for row in rows:
            self._readings.pop(row, None)
        leaders: dict[Prompt, int] = {}
        for row, own in self._readings.items():
            if own.leader is not None and own.leader not in self._readings:
                own.leader = leaders.get(own.prompt)
                if own.leader is None:
                    leaders[own.prompt] = row
        self._copy_common(self, list(leaders.values()))

    def move(self, moved: Mapping[int, int]) -> None:
        """Give rows their new numbers; those without one are gone."""
        self._readings = {moved[row]: own for row, own in self._readings.items() if row in moved}
        for own in self._readings.values():
            own.leader = None if own.leader is None else moved.get(own.leader)

    def _leaders(self) -> list[int]:
        return [row for row, own in self._readings.items() if own.leader is None]

    def _missing(self, row: int) -> int:
        return len(self._readings[row].prompt[1]) - int(self._table.cached[row])

    def _copy_common(self, other: Prefill, rows: Sequence[int]) -> None:
        """Copy what the rows of another pool, or of this one, have of the prompts of these rows."""
        lengths = other.common([self._readings[row].prompt for row in rows])
        self._copy(other, dict(zip(rows, lengths, strict=True)))

    def _copy(self, other: Prefill, found: Mapping[int, Mapping[int, int]]) -> None:
        """The same with the lengths that `common` of the other pool has found by row: the longest of each."""
        cached: list[int] = self._table.cached.tolist()
        best = {row: max(own, key=own.__getitem__) for row, own in found.items() if own}
        ends = {row: found[row][source] for row, source in best.items()}
        rows = [row for row in best if ends[row] >= cached[row] + WORTH_COPYING]
        for end in {ends[row] for row in rows}:  # not beyond: there may be NaN
            alike = [row for row in rows if ends[row] == end]
            source, target = torch.tensor([best[row] for row in alike]), torch.tensor(alike)
            self._cache.copy_rows(source, target, min(cached[row] for row in alike), end, other._cache)
            self._table.cached[target] = end
        for row in found:
            self._finish_if_read(row)

    def _finish_if_read(self, row: int) -> None:
        """Make the last prompt token of a row pending once the others are cached; its followers copy it."""
        if self._missing(row) > 0:
            return
        followers = [other for other, own in self._readings.items() if own.leader == row]
        if followers:
            target, end = torch.tensor(followers), len(self._readings[row].prompt[1])
            begin = int(self._table.cached[target].min())
            self._cache.copy_rows(torch.full_like(target, row), target, begin, end)
            self._table.cached[target] = end
        for done in (row, *followers):
            self._table.start(done, self._readings.pop(done).last)
