"""The slots of an engine: the sequence in each, the rows and drafters of all, and the sampler over them."""

from __future__ import annotations

from collections import abc
from time import perf_counter
from typing import Any
from weakref import WeakSet

from mpg_cli.engine.draft_policy import DraftPolicy
from mpg_cli.engine.sequence import Sequence
from mpg_cli.models.load.adapter import RowKey
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.sampling.drafters import Drafter, LookupDrafter, RowDrafter, SlotDrafters
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import SequenceState
from mpg_cli.sampling.stats import Round

TOO_LITTLE = 1 / 8  # of a block, for a pass of its own


class Slots:
    """`count` slots on a model. A sequence takes part in rounds once its prompts are read."""

    def __init__(self, loaded: LoadedModel, count: int, policy: DraftPolicy) -> None:
        self._loaded = loaded
        self.sequences: list[Sequence | None] = [None] * count
        # Prompts of sequences that wait for a slot; rows on the base and its drafters copy them.
        self._ahead = RowPool(loaded.model, LoraBank.of(loaded.model))
        self._read_ahead: WeakSet[Sequence] = WeakSet()
        self._rows = SlotRows(loaded.model)
        self._draft_pools: dict[int, tuple[RowPool, RowDrafter]] = {}  # by model
        self._read_before = 0  # prompt tokens read in pools that are gone
        self._lookup = LookupDrafter()
        self._drafters = SlotDrafters.all(None, count)
        self._policy = policy
        self._sampler = Sampler(self._rows, self._drafters, [None] * count, self._sizes)
        self._reading: dict[int, float] = {}  # seconds of reading so far, of slots with unread prompts

    @property
    def free(self) -> list[int]:
        """Slots without a sequence."""
        return [slot for slot, sequence in enumerate(self.sequences) if sequence is None]

    @property
    def running(self) -> list[Sequence]:
        """The sequences in slots."""
        return [sequence for sequence in self.sequences if sequence is not None]

    @property
    def pools(self) -> list[RowPool]:
        """The rows on each model, those of drafters, and the prompts of waiting sequences."""
        return [*self._rows.pools, *(pool for pool, _ in self._draft_pools.values()), self._ahead]

    @property
    def nbytes(self) -> int:
        """Bytes of the caches of sequences in slots and of their drafters."""
        return sum(pool.nbytes() for pool in self.pools if pool is not self._ahead)

    @property
    def block(self) -> int:
        """Prompt tokens to read between two rounds."""
        return self._rows.pools[0].plan.block

    @property
    def read_tokens(self) -> int:
        """Prompt tokens read so far over all rows; those copied are not counted."""
        return self._read_before + self._rows.read_before + sum(pool.read_tokens for pool in self.pools)

    # -- sequences -------------------------------------------------------------------------------

    def insert(self, sequences: abc.Sequence[Sequence]) -> None:
        """Put new sequences into free slots."""
        began, slots = perf_counter(), self.free[: len(sequences)]
        placed = dict(zip(slots, sequences, strict=True))
        self._rows.insert({slot: own.rows.new_rows(own.row_prompts) for slot, own in placed.items()})
        drafts: dict[int, tuple[Any, dict[int, NewRows]]] = {}
        for slot, own in placed.items():
            draft = own.rows.draft
            if draft.steps:
                rows = own.rows.draft_rows(own.draft_prompt)
                drafts.setdefault(id(draft.model), (draft.model, {}))[1][slot] = rows
        for model, of_model in drafts.values():
            self._draft_pool(model)[0].insert(of_model)
        for slot, own in placed.items():
            self._drafters.of[slot] = self._drafter(slot, own)
            self.sequences[slot] = own
        self._copy_ahead()
        self._reading |= dict.fromkeys(slots, (perf_counter() - began) / max(1, len(slots)))
        self._start_read()

    def free_slot(self, slot: int, *, damaged: bool = False) -> None:
        """Take the sequence out of a slot; `damaged`: its rows have NaN in their caches."""
        self._rows.free(slot, damaged=damaged)
        for pool, _ in self._draft_pools.values():
            pool.free(slot, damaged=damaged)
        self._drafters.of[slot] = self.sequences[slot] = self._sampler.states[slot] = None
        self._reading.pop(slot, None)

    def compact(self) -> None:
        """Drop rows without a slot where they are the majority."""
        for pool in self.pools:
            pool.compact()

    def _drafter(self, slot: int, sequence: Sequence) -> Drafter | None:
        draft = sequence.rows.draft
        if draft.steps:
            return self._draft_pool(draft.model)[1]
        if draft.name != "lookup":
            return None
        self._lookup.insert(slot, sequence.prompts.draft)
        return self._lookup

    def _draft_pool(self, model: Any) -> tuple[RowPool, RowDrafter]:
        """The rows that draft on a model, apart from those that are scored: a pass over some of the rows of a
        pool would copy their keys and values. Copies of weights without a slot give way to new ones.
        """
        if id(model) not in self._draft_pools:
            own = model is self._loaded.model
            for key, (pool, _) in list(self._draft_pools.items()):
                if not own and pool.model is not self._loaded.model and not pool.used:
                    self._read_before += pool.read_tokens
                    del self._draft_pools[key]
            bank = LoraBank.of(model) if own else None
            pool = RowPool(model, bank, sibling=self._rows.pools[0] if own else None)
            self._draft_pools[id(model)] = pool, RowDrafter(pool)
        return self._draft_pools[id(model)]

    # -- rounds ----------------------------------------------------------------------------------

    @property
    def decoding(self) -> bool:
        """Whether a sequence has read its prompts and takes part in rounds."""
        return any(state is not None and state.running for state in self._sampler.states)

    def read(self, budget: int, waiting: abc.Sequence[Sequence] = ()) -> None:
        """Read the next block of prompts, about `budget` tokens over all rows; those of drafters last.

        `waiting` are the sequences that get the next slots, the first in line first. Sequences whose prompts
        are unread share the time, as those of a round share that of the round.
        """
        began, before = perf_counter(), self._ahead.read_tokens
        self._read_waiting(budget, waiting)
        left = budget - (self._ahead.read_tokens - before)
        while left > budget * TOO_LITTLE and (pool := self._next_unread()) is not None:
            before = pool.read_tokens
            pool.read(left)
            left -= max(1, pool.read_tokens - before)
        if self._reading:
            seconds = (perf_counter() - began) / len(self._reading)
            self._reading = {slot: own + seconds for slot, own in self._reading.items()}
            self._start_read()

    def _read_waiting(self, budget: int, waiting: abc.Sequence[Sequence]) -> None:
        """Read the prompts of new sequences together with those of the next ones, where the budget takes
        more than one: a pass over few tokens costs nearly what one over many does.

        Not while a slot is free, for then memory is short; nor in a single slot: what does not fit the memory
        there must be the sequence in it.
        """
        if not waiting:
            if self._ahead.size:
                self._ahead.reset()
            return
        new = [own for own in map(self._sequence, self._reading) if own not in self._read_ahead]
        if not new or len(self.sequences) == 1 or self.free:
            return
        left, together = budget, 0
        rows: dict[tuple[RowKey, tuple[int, ...]], NewRows] = {}
        unread = [*new, *(own for own in waiting if own not in self._read_ahead)]
        for own in unread:
            more = {(row.key, tuple(row.prompt)): NewRows([row]) for row in self._rows_on_base(own)}
            left -= sum(len(prompt) for key, prompt in more.keys() - rows.keys())
            if left < 0:
                break
            together += 1
            rows |= more
        self._read_ahead.update(unread[: max(together, len(new))])  # each is considered once
        if together <= len(new):
            return
        self._ahead.reset()  # NaN of the prompts before would spread
        self._ahead.insert(dict(enumerate(rows.values())))
        self._ahead.copy_from(self._rows.pools[0])
        while self._ahead.unread:
            self._ahead.read(budget)
        for place in range(len(rows)):
            self._ahead.free(place)
        self._copy_ahead()

    def _copy_ahead(self) -> None:
        """Copy what was read ahead of the prompts of new sequences."""
        for pool in (self._rows.pools[0], *(pool for pool, _ in self._draft_pools.values())):
            if self._ahead.size and pool.model is self._loaded.model:
                pool.copy_from(self._ahead)

    def _rows_on_base(self, sequence: Sequence) -> list[NewRow]:
        """The rows of a sequence on the base, those of the drafter included."""
        base, draft = self._loaded.model, sequence.rows.draft
        rows = sequence.rows.new_rows(sequence.row_prompts)
        if draft.steps:
            rows = [*rows, (draft.model, sequence.rows.draft_rows(sequence.draft_prompt))]
        return [row for model, own in rows if model is base for row in own.rows]

    def _next_unread(self) -> RowPool | None:
        """The pool that the longest waiting sequence needs next."""
        for slot in self._reading:
            for pool in self.pools:
                if slot in pool and not pool.is_read(slot) and pool.unread:
                    return pool
        return None

    def round(self) -> dict[int, Round | None]:
        """One round of the sequences that have read their prompts, by slot; None where one has failed."""
        taking_part = [slot for slot, state in enumerate(self._sampler.states) if state and state.running]
        rounds = self._sampler.round() if taking_part else {}
        for slot, round_ in rounds.items():
            self._policy.learn(self._sequence(slot), round_)
        return {slot: rounds.get(slot) for slot in taking_part}

    def _sizes(self, states: abc.Mapping[int, SequenceState]) -> dict[int, int]:
        return self._policy.sizes({slot: self._sequence(slot) for slot in states})

    def _sequence(self, slot: int) -> Sequence:
        own = self.sequences[slot]
        assert own is not None
        return own

    def _start_read(self) -> None:
        """Let the sequences whose prompts are read take part in rounds."""
        for slot in list(self._reading):
            own = self._sequence(slot)
            pools = [pool for pool, _ in self._draft_pools.values() if slot in pool]
            if self._rows.is_read(slot) and all(pool.is_read(slot) for pool in pools):
                own.prefilled(self._reading.pop(slot))
                self._sampler.states[slot] = own.state
