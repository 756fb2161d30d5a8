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
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import Row
from mpg_cli.models.run.forward import Forward, position_bytes
from mpg_cli.models.run.lora_bank import Assignment, LoraBank
from mpg_cli.models.run.plan import PassPlan, plan_of
from mpg_cli.models.text.vocabulary import Vocabulary, embedded
from mpg_cli.sampling.scorer import Kept, Scores, padded, to_device

Key: TypeAlias = tuple[tuple[str, float], ...]  # fingerprints of the adapters of a row, and their weights

FREE = -1  # in place of a slot
WORTH_COPYING = 8  # tokens of a prefix; fewer are read again


@dataclass(frozen=True)
class NewRow:
    """A row of a new sequence: its name in messages, its adapters and its prompt."""

    name: str
    adapters: Row
    prompt: Sequence[int]

    @property
    def key(self) -> Key:
        """Rows of the same model with equal keys have equal weights."""
        return tuple((adapter.fingerprint, weight) for adapter, weight in self.adapters)


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


def log_softmax_(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis of float32 logits, in place on a CPU.

    A batch has megabytes of logits, and allocating memory would take longer than the sums.
    """
    if logits.device.type != "cpu" or not logits.is_contiguous():
        return torch.log_softmax(logits, dim=-1)
    with torch.inference_mode():
        return torch.log_softmax(logits, dim=-1, out=logits)


class RowPool:
    """The rows of one model. Implements `StepScorer` for the slots that have rows here."""

    def __init__(self, model: Any, bank: LoraBank | None = None, plan: PassPlan | None = None) -> None:
        """`bank` holds the adapters of the rows; without one no row may have any."""
        self.model, self.bank = model, bank
        self.device: torch.device = model.device
        self.plan = plan_of(model) if plan is None else plan
        self.position_bytes = position_bytes(model)  # of one row
        self.read_tokens = 0  # prompt tokens read so far; those copied are not counted
        self._forward = Forward(model, embedded(model), self.plan)
        self._weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._adapters: list[Row] = []
        self.reset()

    def reset(self) -> None:
        """Remove all slots and rows, for instance after an exception in the middle of a pass."""
        for adapters in self._adapters:
            self._release(adapters)
        self._slots: dict[int, _Slot] = {}
        self._readings: dict[int, _Reading] = {}  # by physical row, the oldest first
        self._order: dict[Key, int] = {}  # rows are arranged by the age of their key
        self._cache = self._forward.new_cache(0)
        # Of each of P physical rows:
        self._adapters, self._keys = [], list[Key]()
        none = torch.zeros(0, dtype=torch.long)
        self._owner = none  # slot, or FREE
        self._row, self._candidate = none, none  # their numbers in the slot
        self._cached = none  # tokens in the cache
        self._shared = none  # of these, equal in all candidates
        self._counts = none  # pending tokens: committed or drafted, and not fed yet
        self._pending = torch.zeros(0, 1, dtype=torch.long)  # (P, W)
        self._pushed: Tensor | None = None  # a drafted token (B, N) on its device, to be fed
        self._changed()

    # -- slots -----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P, the number of physical rows."""
        return len(self._keys)

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
        places = self._choose([row for *_, row in wanted])
        index = {slot: torch.zeros(len(r.rows), r.candidates, dtype=torch.long) for slot, r in new.items()}
        for (slot, r, n, row), place in zip(wanted, places, strict=True):
            index[slot][r, n] = place
            self._take(place, row)
            self._owner[place], self._row[place], self._candidate[place] = slot, r, n
        self._slots |= {slot: _Slot(rows, index[slot]) for slot, rows in new.items()}
        if self._cache.span.total < self.size:
            self._arrange(list(range(self.size)))
        for slot, rows in new.items():
            for row, of_row in zip(rows.rows, self._slots[slot].index.tolist(), strict=True):
                for place in of_row:
                    self._begin(place, row.prompt)
        self._changed()

    def free(self, slot: int, *, damaged: bool = False) -> None:
        """Remove the sequence in a slot; its rows keep their cache, unless that is `damaged` by NaN."""
        own = self._slots.pop(slot, None)
        if own is None:
            return
        rows = own.index.flatten()
        self._owner[rows], self._counts[rows] = FREE, 0
        for row in rows.tolist():
            self._readings.pop(row, None)
        if damaged:
            self._cache.clear_rows(rows)
            self._cached[rows] = 0
        self._elect()
        self._changed()

    def compact(self) -> None:
        """Drop the rows without a slot if they are the majority: every pass goes over them."""
        used = (self._owner != FREE).nonzero().flatten().tolist()
        if used and self.size > 2 * len(used):
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
        return sum(len(self._readings[row].ids) - int(self._cached[row]) for row in rows)

    def read(self, budget: int) -> None:
        """Read the next block of the oldest unread prompts in one pass: about `budget` tokens of all rows."""
        leaders = [row for row, reading in self._readings.items() if reading.leader is None]
        if not leaders:
            return
        missing = [len(self._readings[row].ids) - int(self._cached[row]) for row in leaders]
        rows = sorted(leaders[place] for place in self.plan.read_together(missing, budget))
        index = torch.tensor(rows)
        starts = self._cached[index]  # (n,)
        parts = [self._readings[row].ids[begin:] for row, begin in zip(rows, starts.tolist(), strict=True)]
        block = max(1, budget // len(rows))
        tokens = padded([part[:block] for part in parts])  # (n, T)
        first = int(starts[0])
        start: int | Tensor = first if bool((starts == first).all()) else starts
        whole = len(rows) == self.size
        with self._active(self._assigned(None if whole else rows)):
            self._forward.read(self._cache, tokens, start, None if whole else index)
        lengths = torch.tensor([min(block, len(part)) for part in parts])
        self._cached[index] += lengths
        self.read_tokens += int(lengths.sum())
        for row in rows:
            self._finish_if_read(row)

    def _begin(self, row: int, prompt: Sequence[int]) -> None:
        """Give a row its prompt; what rows of equal weights have in their cache is copied."""
        ids = list(prompt[:-1])
        reading = _Reading(ids, prompt[-1])
        alike = [other for other in range(self.size) if self._keys[other] == self._keys[row]]
        for other in alike:
            own = self._readings.get(other)
            if own is not None and own.leader is None and own.ids == ids and other != row:
                reading.leader = other
        self._readings[row] = reading
        self._cached[row] = self._common([row], ids)[0]
        if reading.leader is None:
            self._copy_known(row, alike)
            self._finish_if_read(row)

    def _copy_known(self, row: int, alike: Sequence[int]) -> None:
        """Copy the longest beginning of the prompt of a row that one of these rows has in its cache."""
        lengths, known = self._common(alike, self._readings[row].ids), int(self._cached[row])
        best = max(range(len(alike)), key=lengths.__getitem__)
        if lengths[best] >= known + WORTH_COPYING:
            source, target = torch.tensor([alike[best]]), torch.tensor([row])
            self._cache.copy_rows(source, target, known, lengths[best])
            self._cached[row] = lengths[best]

    def _elect(self) -> None:
        """Give rows whose leader has no slot another one: the first with the same prompt."""
        leaders: dict[tuple[Key, tuple[int, ...]], int] = {}
        for row, own in self._readings.items():
            if own.leader is not None and own.leader not in self._readings:
                before, own.leader = own.leader, leaders.get((self._keys[row], tuple(own.ids)))
                if own.leader is None:
                    leaders[self._keys[row], tuple(own.ids)] = row
                    self._copy_known(row, [row, before])

    def _common(self, rows: Sequence[int], ids: Sequence[int]) -> list[int]:
        """Length of the prefix of `ids` that each of the rows has in its cache."""
        index = torch.tensor(list(rows))
        known = self._cached[index].clamp(max=len(ids))  # (n,)
        if not ids or not bool(known.any()):
            return [0] * len(rows)
        tokens = torch.tensor(list(ids)).expand(len(rows), -1)  # (n, T)
        found: list[int] = self._cache.common(index[:, None], tokens, known).tolist()
        return found

    def _finish_if_read(self, row: int) -> None:
        """Make the last prompt token of a row pending once the others are cached; its followers copy it."""
        reading = self._readings[row]
        if int(self._cached[row]) < len(reading.ids):
            return
        followers = [other for other, own in self._readings.items() if own.leader == row]
        if followers:
            target, end = torch.tensor(followers), len(reading.ids)
            begin = int(self._cached[target].min())
            self._cache.copy_rows(torch.full_like(target, row), target, begin, end)
            self._cached[target] = end
        for done in (row, *followers):
            own = self._readings.pop(done)
            self._shared[done] = self._cached[done]
            self._pending[done, 0], self._counts[done] = own.last, 1

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
        view = self._view(tuple(slots))
        own = view.rows
        N, T = drafts.shape[1:]
        self._truncate_idle(own)
        pushed = self._take_pushed(own, T)
        lane = view.lanes(N)  # (P,), the place of each row in (B * N)
        if pushed is not None:
            tokens = pushed.flatten()[to_device(lane, pushed.device)][:, None]  # (P, 1)
            counts = torch.ones_like(self._counts)
        else:
            counts = self._counts  # (P,)
            fed = int(counts[own].max()) + T
            tokens = torch.zeros(self.size, fed, dtype=torch.long)  # (P, fed)
            width = min(fed, self._pending.shape[1])
            tokens[:, :width] = self._pending[:, :width]
            if T:
                at = counts.clamp(max=fed - T)[:, None] + torch.arange(T)  # (P, T)
                tokens.scatter_(1, at, drafts.cpu().flatten(0, 1)[lane])
        logits = self._logits(tokens)  # (P, fed, V)
        last = counts.clone()
        self._cached[own] += counts[own] + T
        self._counts = self._counts.clone()
        self._counts[own] = 0
        return PoolScores(self, logits, last, T)

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        """See `StepScorer.push`. The token stays on its device: on a GPU every read would synchronise."""
        own = self._view(tuple(slots)).rows
        self._flush(own)
        if bool(self._counts[own].any()):
            self._append(own, tokens)
        else:
            self._pushed = tokens

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """See `Scorer.commit`; slots without rows here are left out."""
        slots = tuple(slot for slot in kept if slot in self._slots)
        if not slots:
            return
        view = self._view(slots)
        own, of = view.rows, view.places  # (n,), (n,) places in `slots`
        self._flush(own)
        drop = torch.tensor([kept[slot].drop for slot in slots])[of]  # (n,)
        new = [kept[slot].tokens for slot in slots]
        counts = self._counts[own]
        self._cached[own] -= (drop - counts).clamp(min=0)
        for slot in slots:
            if self._slots[slot].new.candidates > 1:
                self._keep_candidate(slot, kept[slot].winner)
        counts = (counts - drop).clamp(min=0)
        tokens = padded(new)  # (slots, n)
        self._widen(int(counts.max()) + tokens.shape[1])
        at = counts[:, None] + torch.arange(tokens.shape[1])
        self._pending[own[:, None], at] = tokens[of]
        self._counts[own] = counts + torch.tensor([len(ids) for ids in new])[of]

    def _keep_candidate(self, slot: int, winner: int) -> None:
        """Give the pending tokens and the cache of the winner to the other candidates."""
        index = self._slots[slot].index  # (R, N)
        others = torch.tensor([n for n in range(index.shape[1]) if n != winner])
        target = index[:, others].flatten()
        source = index[:, winner].repeat_interleave(len(others))
        self._pending[target] = self._pending[source]
        begin, end = int(self._shared[index].min()), int(self._cached[index].max())
        if begin < end:
            self._cache.copy_rows(source, target, begin, end)
        self._shared[index] = self._cached[index]

    def _append(self, rows: Tensor, tokens: Tensor) -> None:
        """Append a token (B, N) to the pending ones of these rows."""
        self._widen(int(self._counts[rows].max()) + 1)
        lane = self._owner[rows] * tokens.shape[1] + self._candidate[rows]
        self._pending[rows, self._counts[rows]] = tokens.cpu().flatten()[lane]
        self._counts[rows] += 1

    def _take_pushed(self, rows: Tensor, drafted: int) -> Tensor | None:
        """The pushed tokens (B, N), if they are all that the next pass feeds."""
        if self._pushed is None or not drafted:
            pushed, self._pushed = self._pushed, None
            return pushed
        self._flush(rows)
        return None

    def _flush(self, rows: Tensor) -> None:
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            self._append(rows, pushed)

    def _widen(self, width: int) -> None:
        more = width - self._pending.shape[1]
        if more > 0:
            self._pending = torch.nn.functional.pad(self._pending, (0, more))

    # -- passes ----------------------------------------------------------------------------------

    def _truncate_idle(self, own: Tensor) -> None:
        """Shorten rows without a slot to the longest of the pass, which would else read more positions."""
        if len(own) < self.size:
            idle = self._owner == FREE
            self._cached[idle] = self._cached[idle].clamp(max=int(self._cached[own].max()))

    def _logits(self, tokens: Tensor) -> Tensor:
        """Logits (P, T, V) after each of the tokens (P, T)."""
        lengths: list[int] = self._cached.tolist()
        together = self.plan.sequences_together(lengths, self.position_bytes, self._weight_bytes)
        if len(together) == 1:
            return self._pass(tokens, None)
        logits = torch.cat([self._pass(tokens[part], part) for part in together])
        return logits[torch.tensor(list(chain(*together))).argsort()]

    def _pass(self, tokens: Tensor, rows: list[int] | None) -> Tensor:
        """Logits (n, T, V) of one pass over tokens (n, T) of these physical rows (None: all)."""
        index = None if rows is None else torch.tensor(rows)
        cached = self._cached if index is None else self._cached[index]  # (n,)
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
        if rows is None:
            return self._assignment
        return self.bank.assign([self._adapters[row] for row in rows]) if self.bank is not None else None

    # -- physical rows ---------------------------------------------------------------------------

    def _choose(self, new: Sequence[NewRow]) -> list[int]:
        """A free physical row for each of the new ones, if possible with the same weights and prompt.

        Without enough of them the pool grows.
        """
        free: list[int] = (self._owner == FREE).nonzero().flatten().tolist()
        found: dict[int, int] = {}
        for place, row in enumerate(new):
            alike = [other for other in free if self._keys[other] == row.key]
            if alike:
                known = self._common(alike, row.prompt[:-1])
                found[place] = alike[max(range(len(alike)), key=known.__getitem__)]
                free.remove(found[place])
        missing = len(new) - len(found) - len(free)
        if missing > 0:
            free += range(self.size, self.size + missing)
            self._grow(missing)
        free.sort(key=lambda row: int(self._cached[row]))  # the shortest caches are the least useful
        rest = iter(free)
        return [found[place] if place in found else next(rest) for place in range(len(new))]

    def _grow(self, more: int) -> None:
        """Add free rows; `_arrange` adds them to the cache."""
        self._keys += [()] * more
        self._adapters += [()] * more
        self._owner = torch.nn.functional.pad(self._owner, (0, more), value=FREE)
        for name in ("_row", "_candidate", "_cached", "_shared", "_counts"):
            setattr(self, name, torch.nn.functional.pad(getattr(self, name), (0, more)))
        self._pending = torch.nn.functional.pad(self._pending, (0, 0, 0, more))

    def _take(self, place: int, row: NewRow) -> None:
        """Give a free physical row these weights; its cache is only valid for the same ones."""
        if self._keys[place] == row.key:
            return
        if self.bank is not None:
            for adapter, _ in row.adapters:
                self.bank.retain(adapter)
        self._release(self._adapters[place])
        self._keys[place], self._adapters[place] = row.key, row.adapters
        self._cached[place] = 0

    def _release(self, adapters: Row) -> None:
        if self.bank is not None:
            for adapter, _ in adapters:
                self.bank.release(adapter)

    def _arrange(self, rows: list[int]) -> None:
        """Keep these physical rows, arranged by weights, then by their number in their slots.

        So the rows of one adapter are neighbours, and those of alike slots need no copy.
        """
        for row in rows:
            self._order.setdefault(self._keys[row], len(self._order))
        of = [self._row.tolist(), self._owner.tolist(), self._candidate.tolist()]
        rows = sorted(rows, key=lambda row: (self._order[self._keys[row]], *(values[row] for values in of)))
        for row in set(range(self.size)).difference(rows):
            self._release(self._adapters[row])
        index = torch.tensor(rows, dtype=torch.long)
        total = self._cache.span.total
        self._cache.select_rows(torch.where(index < total, index, -1))  # -1: an empty one
        self._adapters = [self._adapters[row] for row in rows]
        self._keys = [self._keys[row] for row in rows]
        for name in ("_owner", "_row", "_candidate", "_cached", "_shared", "_counts", "_pending"):
            setattr(self, name, getattr(self, name)[index])
        moved = {old: new for new, old in enumerate(rows)}
        for slot in self._slots.values():
            slot.index = slot.index.clone().apply_(moved.__getitem__)
        self._readings = {moved[row]: own for row, own in self._readings.items() if row in moved}
        for own in self._readings.values():
            own.leader = None if own.leader is None else moved.get(own.leader)
        self._changed()

    def _changed(self) -> None:
        """Forget what depends on the arrangement of the rows."""
        self._views: dict[tuple[int, ...], _View] = {}
        self._assignment = self._assigned(range(self.size))

    def _view(self, slots: tuple[int, ...]) -> _View:
        if slots not in self._views:
            self._views[slots] = _View.of([self._slots[slot].index for slot in slots], slots, self)
        return self._views[slots]

    @property
    def lanes(self) -> tuple[Tensor, Tensor]:
        """Slot (0 where there is none) and candidate of every physical row, each (P,)."""
        return self._owner.clamp(min=0), self._candidate


@dataclass(frozen=True)
class _View:
    """The physical rows of some slots."""

    rows: Tensor  # (n,)
    places: Tensor  # (n,), the place of each row's slot among the slots
    slots: Tensor  # (P,), the slot of every physical row, 0 where there is none
    candidates: Tensor  # (P,)
    index: Tensor | None  # (R, b, N) if the slots are alike
    whole: bool  # `index` is all physical rows in their order

    @classmethod
    def of(cls, index: Sequence[Tensor], slots: Sequence[int], pool: RowPool) -> _View:
        alike = len({own.shape for own in index}) == 1
        stacked = torch.stack(list(index), dim=1) if alike else None  # (R, b, N)
        whole = stacked is not None and torch.equal(stacked.flatten(), torch.arange(pool.size))
        places = [torch.full((own.numel(),), place) for place, own in enumerate(index)]
        of_rows, candidates = pool.lanes
        return cls(
            torch.cat([own.flatten() for own in index]),
            torch.cat(places),
            of_rows,
            candidates,
            stacked,
            whole,
        )

    def lanes(self, candidates: int) -> Tensor:
        """The place of every physical row in drafts (B, N) as (B * N): (P,)."""
        return self.slots * candidates + self.candidates.clamp(max=candidates - 1)


class PoolScores:
    """The logits of a pass over all rows of a pool. Implements `Scored`; valid until the next pass."""

    def __init__(self, pool: RowPool, logits: Tensor, fed: Tensor, drafted: int) -> None:
        """logits (P, T', V) after `fed` (P,) pending tokens and `drafted` ones of each row, then padding."""
        self._pool, self._logits, self._fed, self._drafted = pool, logits, fed, drafted

    def of(self, slots: Sequence[int]) -> Scores:
        """See `Scored.of`."""
        pool, T, logits = self._pool, self._drafted, self._logits
        view = pool._view(tuple(slots))
        assert view.index is not None
        fed = self._fed[view.index]  # (R, b, N)
        first = int(fed[0, 0, 0])
        even = bool((fed == first).all())
        if even and view.whole:
            found = logits.view(*view.index.shape, *logits.shape[1:])[..., first - 1 : first + T, :]
        else:
            at = to_device(fed[..., None] - 1 + torch.arange(T + 1), logits.device)  # (R, b, N, T+1)
            found = logits[to_device(view.index, logits.device)[..., None], at]  # (R, b, N, T+1, V)
        vocabulary = pool._slots[slots[0]].new.vocabulary
        found = vocabulary.fit(found) if vocabulary else found.float()
        token = vocabulary.first if vocabulary else 0
        logit = found[..., token].clone()  # (R, b, N, T+1)
        log_probs = log_softmax_(found)
        return Scores(log_probs, logit - log_probs[..., token])
