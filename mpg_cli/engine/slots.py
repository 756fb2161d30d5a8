"""The slots of an engine: the sequence in each, the rows and drafters of all, and the sampler over them."""

from __future__ import annotations

from collections import abc
from time import perf_counter
from typing import Any

from mpg_cli.engine.draft_policy import DraftPolicy
from mpg_cli.engine.sequence import Sequence
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import NewRows, RowPool
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.sampling.drafters import Drafter, LookupDrafter, RowDrafter, SlotDrafters
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import SequenceState
from mpg_cli.sampling.stats import Round


class Slots:
    """`count` slots on a model. A sequence takes part in rounds once its prompts are read."""

    def __init__(self, loaded: LoadedModel, count: int, policy: DraftPolicy) -> None:
        self._loaded = loaded
        self.sequences: list[Sequence | None] = [None] * count
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
        """The rows on each model, then those of drafters."""
        return [*self._rows.pools, *(pool for pool, _ in self._draft_pools.values())]

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
            bank, sibling = (LoraBank.of(model), self._rows.pools[0]) if own else (None, None)
            pool = RowPool(model, bank, sibling=sibling)
            self._draft_pools[id(model)] = pool, RowDrafter(pool)
        return self._draft_pools[id(model)]

    # -- rounds ----------------------------------------------------------------------------------

    @property
    def decoding(self) -> bool:
        """Whether a sequence has read its prompts and takes part in rounds."""
        return any(state is not None and state.running for state in self._sampler.states)

    def read(self, budget: int) -> None:
        """Read the next block of prompts, about `budget` tokens over all rows; those of drafters last.

        Sequences whose prompts are unread share its time, as those of a round share that of the round.
        """
        began, pool = perf_counter(), self._next_unread()
        if pool is not None:
            pool.read(budget)
            seconds = perf_counter() - began
            self._reading = {slot: own + seconds / len(self._reading) for slot, own in self._reading.items()}
            self._start_read()

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
