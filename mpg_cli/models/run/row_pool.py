"""The rows of all slots on one model, scored in shared passes.

A physical row has adapters and a cache of its own, and belongs to a candidate of a slot. Slots of different
blends share passes: a pass goes over all physical rows, also those without a slot, whose results are unused.
Those keep their cache until another sequence takes them: a prefix that a row of equal weights has in its
is copied, not read. So the next turn of a conversation costs its new tokens, another sample of a prompt
nothing, and two blends read the prompt of the reference, or of a persona in both, once.

Independent of sampling and of text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import Row, RowKey, row_key
from mpg_cli.models.run.assignment import Assignment
from mpg_cli.models.run.forward import Forward, position_bytes
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.plan import PassPlan, plan_of
from mpg_cli.models.run.pool_scores import PoolScores, SlotView
from mpg_cli.models.run.row_table import FREE, RowTable
from mpg_cli.models.text.vocabulary import Vocabulary, embedded
from mpg_cli.sampling.scorer import Kept, padded, to_device

WORTH_COPYING = 8  # tokens of a prefix; fewer are read again
IDLE, SHARE_IDLE = 8, 0.25  # rows without a slot that are kept: so many, or this share of those with one


@dataclass(frozen=True)
class NewRow:
    """A row of a new sequence: its name in messages, its adapters and its prompt."""

    name: str
    adapters: Row
    prompt: Sequence[int]

    @property
    def key(self) -> RowKey:
        """See `row_key`."""
        return row_key(self.adapters)


@dataclass(frozen=True)
class NewRows:
    """The R rows of a new sequence on one model, each for N candidates.

    `vocabulary` are the tokens that are scored (None: all logits of the model).
    """

    rows: Sequence[NewRow]
    candidates: int = 1
    vocabulary: Vocabulary | None = None

    @property
    def count(self) -> int:
        """R * N, the number of physical rows."""
        return len(self.rows) * self.candidates


@dataclass
class _Slot:
    """The rows of the sequence in a slot."""

    new: NewRows
    index: Tensor  # physical rows (R, N)


@dataclass
class _Reading:
    """The prompt of a physical row that is not in its cache yet.

    `leader` is a row with the same weights and prompt that reads it; then it is copied.
    """

    ids: list[int]  # all but the last token
    last: int
    leader: int | None = None
    begun: bool = False


class RowPool:
    """The rows of one model. Implements `StepScorer` for the slots that have rows here."""

    def __init__(
        self,
        model: Any,
        bank: LoraBank | None = None,
        plan: PassPlan | None = None,
        sibling: RowPool | None = None,
    ) -> None:
        """`bank` holds the adapters of the rows; without one no row may have any. `sibling` is another pool
        of the model, whose prompts are read first.
        """
        self.model, self.bank, self._sibling = model, bank, sibling
        self.device: torch.device = model.device
        self.plan = plan_of(model) if plan is None else plan
        self.position_bytes = position_bytes(model)  # of one row
        self.read_tokens = 0  # prompt tokens read so far; those copied are not counted
        self._forward = Forward(model, embedded(model), self.plan)
        self._weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._table = RowTable()
        self._assignment: Assignment | None = None  # of passes over all rows
        self.reset()

    def reset(self) -> None:
        """Remove all slots and rows, for instance after an exception in the middle of a pass."""
        before = self._table.adapters
        self._slots: dict[int, _Slot] = {}
        self._readings: dict[int, _Reading] = {}  # by physical row, the oldest first
        self._table, self._cache = RowTable(), self._forward.new_cache(0)
        # A drafted token (B, N) on its device, to be fed, and the rows (n,) that get it.
        self._pushed: tuple[Tensor, Tensor] | None = None
        self._changed()
        self._release(before)

    # -- slots -----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P, the number of physical rows."""
        return len(self._table)

    @property
    def used(self) -> bool:
        """Whether a slot has rows here."""
        return bool(self._slots)

    def __contains__(self, slot: int) -> bool:
        return slot in self._slots

    def insert(self, new: Mapping[int, NewRows]) -> None:
        """Start new sequences in slots without one; `read` reads their prompts, but for the last tokens.

        Those are pending, so that the first `score` starts from them as later ones do from the last committed
        token. A failure, such as running out of memory, leaves the pool to be `reset`.
        """
        wanted = [
            (slot, r, n, row)
            for slot, rows in new.items()
            for r, row in enumerate(rows.rows)
            for n in range(rows.candidates)
        ]
        new_rows = [row for *_, row in wanted]
        known = self._common([(row.key, row.prompt[:-1]) for row in new_rows])
        places = self._choose(new_rows, known)
        self._give(dict(zip(places, new_rows, strict=True)))
        table = self._table
        index = {slot: torch.zeros(len(r.rows), r.candidates, dtype=torch.long) for slot, r in new.items()}
        for (slot, r, n, _), place in zip(wanted, places, strict=True):
            index[slot][r, n] = place
            table.owner[place], table.row[place], table.candidate[place] = slot, r, n
        self._slots |= {slot: _Slot(rows, index[slot]) for slot, rows in new.items()}
        if self._cache.span.total < self.size:
            moved = self._arrange(range(self.size))
            places = [moved[place] for place in places]
            known = [{moved[row]: length for row, length in own.items()} for own in known]
        self._begin(places, [row.prompt for row in new_rows], known)
        self._changed()

    def free(self, slot: int, *, damaged: bool = False) -> None:
        """Remove the sequence in a slot; its rows keep their cache, unless that is `damaged` by NaN."""
        own = self._slots.pop(slot, None)
        if own is None:
            return
        rows = own.index.flatten()
        self._table.owner[rows], self._table.counts[rows] = FREE, 0
        for row in rows.tolist():
            self._readings.pop(row, None)
        if damaged:
            self._cache.clear_rows(rows)
            self._table.cached[rows] = 0
        self._elect()
        self._changed()

    def compact(self) -> None:
        """Drop the rows without a slot if there are many: every pass goes over them."""
        used = (self._table.owner != FREE).nonzero().flatten().tolist()
        if used and self.size - len(used) > min(len(used), max(IDLE, SHARE_IDLE * len(used))):
            self._arrange(used)

    def nbytes(self) -> int:
        """Bytes of the cache."""
        return self._cache.nbytes()

    # -- prompts ---------------------------------------------------------------------------------

    def is_read(self, slot: int) -> bool:
        """Whether the prompts of a slot are in the cache, so that it can be scored."""
        return not any(row in self._readings for row in self._slots[slot].index.flatten().tolist())

    @property
    def unread(self) -> int:
        """Prompt tokens that are still to be read."""
        rows = [row for row, reading in self._readings.items() if reading.leader is None]
        return sum(len(self._readings[row].ids) - int(self._table.cached[row]) for row in rows)

    def read(self, budget: int) -> None:
        """Read the next block of the oldest unread prompts in one pass: about `budget` tokens of all rows."""
        if self._sibling is not None:
            self.copy_from(self._sibling)
        leaders = [row for row, reading in self._readings.items() if reading.leader is None]
        if not leaders:
            return
        for row in leaders:
            self._readings[row].begun = True
        missing = [len(self._readings[row].ids) - int(self._table.cached[row]) for row in leaders]
        rows = sorted(leaders[place] for place in self.plan.read_together(missing, budget))
        index = torch.tensor(rows)
        starts = self._table.cached[index]  # (n,)
        parts = [self._readings[row].ids[begin:] for row, begin in zip(rows, starts.tolist(), strict=True)]
        block = max(1, budget // len(rows))
        tokens = padded([part[:block] for part in parts])  # (n, T)
        first = int(starts[0])
        start: int | Tensor = first if bool((starts == first).all()) else starts
        whole = len(rows) == self.size
        with self._active(self._assigned(None if whole else rows)):
            self._forward.read(self._cache, tokens, start, None if whole else index)
        lengths = torch.tensor([min(block, len(part)) for part in parts])
        self._table.cached[index] += lengths
        self.read_tokens += int(lengths.sum())
        for row in rows:
            self._finish_if_read(row)

    def _begin(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], known: Sequence[Mapping[int, int]]
    ) -> None:
        """Give rows their prompts; what rows of equal weights have in their cache (`known`) is copied."""
        table = self._table
        for row, own in zip(rows, known, strict=True):
            table.cached[row] = own.get(row, 0)
        valid: list[int] = table.cached.tolist()  # copies write behind these
        leaders = {
            (table.keys[row], tuple(own.ids)): row
            for row, own in self._readings.items()
            if own.leader is None
        }
        found: dict[int, Mapping[int, int]] = {}
        for row, prompt, lengths in zip(rows, prompts, known, strict=True):
            ids = list(prompt[:-1])
            leader = leaders.setdefault((table.keys[row], tuple(ids)), row)
            self._readings[row] = _Reading(ids, prompt[-1], None if leader == row else leader)
            if leader == row:
                found[row] = {other: min(n, valid[other]) for other, n in lengths.items()}
        self._copy_known(self, found)

    def _copy_known(self, pool: RowPool, found: Mapping[int, Mapping[int, int]]) -> None:
        """Copy what rows of a pool have cached of the prompts of rows: of each the longest beginning.

        `found` has the lengths by row, and by row of the pool.
        """
        cached: list[int] = self._table.cached.tolist()
        best = {row: max(own, key=own.__getitem__) for row, own in found.items() if own}
        ends = {row: found[row][source] for row, source in best.items()}
        rows = [row for row in best if ends[row] >= cached[row] + WORTH_COPYING]
        for end in {ends[row] for row in rows}:  # not beyond: there may be NaN
            alike = [row for row in rows if ends[row] == end]
            source, target = torch.tensor([best[row] for row in alike]), torch.tensor(alike)
            self._cache.copy_rows(source, target, min(cached[row] for row in alike), end, pool._cache)
            self._table.cached[target] = end
        for row in found:
            self._finish_if_read(row)

    def copy_from(self, pool: RowPool) -> None:
        """The same for rows whose prompts are about to be read, from another pool of the model."""
        rows = [row for row, own in self._readings.items() if own.leader is None and not own.begun]
        lengths = pool._common([(self._table.keys[row], self._readings[row].ids) for row in rows])
        self._copy_known(pool, dict(zip(rows, lengths, strict=True)))

    def _elect(self) -> None:
        """Give rows whose leader has no slot another one: the first with the same prompt."""
        leaders: dict[tuple[RowKey, tuple[int, ...]], int] = {}
        for row, own in self._readings.items():
            if own.leader is not None and own.leader not in self._readings:
                own.leader = leaders.get((self._table.keys[row], tuple(own.ids)))
                if own.leader is None:
                    leaders[self._table.keys[row], tuple(own.ids)] = row
        rows = list(leaders.values())
        known = self._common([(self._table.keys[row], self._readings[row].ids) for row in rows])
        self._copy_known(self, dict(zip(rows, known, strict=True)))

    def _common(self, prompts: Sequence[tuple[RowKey, Sequence[int]]]) -> list[dict[int, int]]:
        """For each of these weights and prompts: the rows that have these weights and a prefix in their
        cache, with its length.
        """
        found: list[dict[int, int]] = [{} for _ in prompts]
        if not found:
            return found
        alike: dict[RowKey, list[int]] = {}
        for row, (key, length) in enumerate(zip(self._table.keys, self._table.cached.tolist(), strict=True)):
            if length:
                alike.setdefault(key, []).append(row)
        for key, rows in alike.items():
            places = [place for place, (own, ids) in enumerate(prompts) if own == key and ids]
            if places:
                index, tokens = torch.tensor(rows), padded([list(prompts[place][1]) for place in places])
                most = torch.tensor([len(prompts[place][1]) for place in places])  # (n,)
                lengths = self._cache.common(index, tokens).minimum(self._table.cached[index])  # (n, R)
                for place, of_rows in zip(places, lengths.minimum(most[:, None]).tolist(), strict=True):
                    found[place] = dict(zip(rows, of_rows, strict=True))
        return found

    def _finish_if_read(self, row: int) -> None:
        """Make the last prompt token of a row pending once the others are cached; its followers copy it."""
        reading = self._readings[row]
        if int(self._table.cached[row]) < len(reading.ids):
            return
        followers = [other for other, own in self._readings.items() if own.leader == row]
        if followers:
            target, end = torch.tensor(followers), len(reading.ids)
            begin = int(self._table.cached[target].min())
            self._cache.copy_rows(torch.full_like(target, row), target, begin, end)
            self._table.cached[target] = end
        for done in (row, *followers):
            self._table.start(done, self._readings.pop(done).last)

    # -- the protocol of the sampler -------------------------------------------------------------

    def alike(self, slot: int) -> Hashable:
        """See `Scorer.alike`."""
        new = self._slots[slot].new
        return len(new.rows), new.candidates, new.vocabulary

    def rows(self, slot: int) -> int:
        """R, the number of rows of a slot, candidates apart."""
        return len(self._slots[slot].new.rows)

    def name(self, slot: int, row: int) -> str:
        """See `Scorer.name`."""
        return self._slots[slot].new.rows[row].name

    def score(self, drafts: Tensor, slots: Sequence[int]) -> PoolScores:
        """See `Scorer.score`. The drafts belong to the sequences until `commit` drops them."""
        own, table = self._view(tuple(slots)).rows, self._table
        N, T = drafts.shape[1:]
        self._truncate_idle(own)
        # The place of each row in (B * N); rows of no slot, or of more candidates, feed any tokens.
        lane = table.owner.clamp(min=0) * N + table.candidate.clamp(max=N - 1)  # (P,)
        pushed = self._take_pushed(own, T)
        if pushed is not None:
            tokens = pushed.flatten()[to_device(lane, pushed.device)][:, None]  # (P, 1)
            fed = torch.ones_like(table.counts)
        else:
            fed, tokens = table.counts, table.with_drafts(own, drafts.cpu().flatten(0, 1)[lane])
        logits = self._logits(tokens)  # (P, W, V)
        if pushed is None:
            table.fed(own)
            table.drafted[own] += T
        table.cached[own] += T if pushed is None else 1
        return PoolScores(logits, fed, T, self._view)

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        """See `StepScorer.push`. The token stays on its device: on a GPU every read would synchronise."""
        self._flush()
        own = self._view(tuple(slots)).rows
        self._table.drafted[own] += 1
        if bool(self._table.counts[own].any()):
            self._table.append(own, tokens.cpu())
        else:
            self._pushed = tokens, own

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """See `Scorer.commit`; slots without rows here are left out."""
        slots = tuple(slot for slot in kept if slot in self._slots)
        if not slots:
            return
        view = self._view(slots)
        own, of = view.rows, view.places  # (n,), (n,) places in `slots`
        self._flush()
        accepted = torch.tensor([kept[slot].accepted for slot in slots])[of]  # (n,)
        tokens = padded([kept[slot].tokens for slot in slots])[of]  # (n, W)
        lengths = torch.tensor([len(kept[slot].tokens) for slot in slots])[of]
        for slot in slots:
            if self._slots[slot].new.candidates > 1:
                index = self._slots[slot].index
                self._table.pending[index] = self._table.pending[index[:, kept[slot].winner]][:, None]
        self._table.commit(own, accepted, tokens, lengths)
        for slot in slots:
            if self._slots[slot].new.candidates > 1:
                self._share(slot, kept[slot].winner)

    def _share(self, slot: int, winner: int) -> None:
        """Copy the cache of the winner to the other candidates, from where they differ."""
        index, table = self._slots[slot].index, self._table  # (R, N)
        begin, end = int(table.shared[index].min()), int(table.cached[index].max())
        if begin < end:
            others = torch.tensor([n for n in range(index.shape[1]) if n != winner])
            source = index[:, winner].repeat_interleave(len(others))
            self._cache.copy_rows(source, index[:, others].flatten(), begin, end)
        table.shared[index] = table.cached[index]

    def _take_pushed(self, rows: Tensor, drafted: int) -> Tensor | None:
        """The pushed tokens (B, N), if they are all that the next pass feeds to these rows."""
        if self._pushed is not None and not drafted and torch.equal(self._pushed[1], rows):
            tokens, self._pushed = self._pushed[0], None
            return tokens
        self._flush()
        return None

    def _flush(self) -> None:
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            self._table.append(pushed[1], pushed[0].cpu())

    # -- passes ----------------------------------------------------------------------------------

    def _truncate_idle(self, own: Tensor) -> None:
        """Shorten rows without a slot to the longest of the pass, which would else read more positions."""
        if len(own) < self.size:
            cached, idle = self._table.cached, self._table.owner == FREE
            cached[idle] = cached[idle].clamp(max=int(cached[own].max()))

    def _logits(self, tokens: Tensor) -> Tensor:
        """Logits (P, T, V) after each of the tokens (P, T)."""
        lengths: list[int] = self._table.cached.tolist()
        together = self.plan.sequences_together(lengths, self.position_bytes, self._weight_bytes)
        if len(together) == 1:
            return self._pass(tokens, None)
        logits = torch.cat([self._pass(tokens[part], part) for part in together])
        return logits[torch.tensor(list(chain(*together))).argsort()]

    def _pass(self, tokens: Tensor, rows: list[int] | None) -> Tensor:
        """Logits (n, T, V) of one pass over tokens (n, T) of these physical rows (None: all)."""
        index = None if rows is None else torch.tensor(rows)
        cached = self._table.cached if index is None else self._table.cached[index]  # (n,)
        start: int | Tensor = int(cached[0])
        if not bool((cached == start).all()):
            start = cached
        alone, assignment = len(self._slots) == 1, self._assigned(rows)
        version = 0 if assignment is None else assignment.version
        with self._active(assignment):
            return self._forward.score(self._cache, tokens, start, index, alone=alone, version=version)

    def _active(self, assignment: Assignment | None) -> AbstractContextManager[None]:
        """The context of passes with these adapters."""
        return nullcontext() if self.bank is None else self.bank.active(assignment)

    def _assigned(self, rows: Sequence[int] | None) -> Assignment | None:
        """The adapters of these physical rows (None: all)."""
        if self.bank is None:
            return None
        if rows is not None:
            return self.bank.assign([self._table.adapters[row] for row in rows])
        if (
            self._assignment is None or not self._assignment.valid
        ):  # rows of other pools may move the adapters
            self._assignment = self.bank.assign(self._table.adapters)
        return self._assignment

    # -- physical rows ---------------------------------------------------------------------------

    def _choose(self, new: Sequence[NewRow], known: Sequence[Mapping[int, int]]) -> list[int]:
        """A free physical row for each of the new ones, if possible with the same weights and prompt, see
        `_common`. Without enough of them the pool grows.
        """
        free, found = dict.fromkeys(self._table.free), dict[int, int]()
        for place, lengths in enumerate(known):
            alike = [row for row in lengths if row in free]
            if alike:
                # Where it makes no difference the first: slots whose rows are in their order need no copies.
                found[place] = max(alike, key=lambda row: lengths[row] // WORTH_COPYING)
                del free[found[place]]
        missing = len(new) - len(found) - len(free)
        if missing > 0:
            free |= dict.fromkeys(range(self.size, self.size + missing))
            self._table.grow(missing)
        cached: list[int] = self._table.cached.tolist()
        rest = iter(sorted(free, key=cached.__getitem__))  # the shortest caches are the least useful
        return [found[place] if place in found else next(rest) for place in range(len(new))]

    def _give(self, rows: Mapping[int, NewRow]) -> None:
        """Give free physical rows these weights; their cache is only valid for the same ones."""
        table = self._table
        changed = {place: row for place, row in rows.items() if table.keys[place] != row.key}
        if self.bank is not None:
            self.bank.retain([row.adapters for row in changed.values()])
        before = [table.adapters[place] for place in changed]
        for place, row in changed.items():
            table.keys[place], table.adapters[place] = row.key, row.adapters
            table.cached[place] = 0
        self._release(before)

    def _release(self, rows: Sequence[Row]) -> None:
        if self.bank is not None:
            self.bank.release(rows)

    def _arrange(self, rows: Sequence[int]) -> dict[int, int]:
        """Keep these physical rows, in the order of `RowTable.arranged`; returns their new numbers."""
        self._flush()
        table, total = self._table, self._cache.span.total
        dropped = [table.adapters[row] for row in set(range(self.size)).difference(rows)]
        order = table.arranged(rows)
        index = torch.tensor(order, dtype=torch.long)
        self._cache.select_rows(torch.where(index < total, index, -1))  # -1: an empty one
        table.keep(order)
        self._release(dropped)  # now: what fails before leaves them in the table
        moved = {old: new for new, old in enumerate(order)}
        for slot in self._slots.values():
            slot.index = slot.index.clone().apply_(moved.__getitem__)
        self._readings = {moved[row]: own for row, own in self._readings.items() if row in moved}
        for own in self._readings.values():
            own.leader = None if own.leader is None else moved.get(own.leader)
        self._changed()
        return moved

    def _changed(self) -> None:
        """Forget what depends on the arrangement of the rows."""
        self._views: dict[tuple[int, ...], SlotView] = {}
        self._assignment = None

    def _view(self, slots: tuple[int, ...]) -> SlotView:
        if slots not in self._views:
            own = [self._slots[slot] for slot in slots]
            found = SlotView.of([one.index for one in own], self._table, own[0].new.vocabulary)
            self._views[slots] = found
        return self._views[slots]
