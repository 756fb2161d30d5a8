"""The slots of a batch: the sequence in each, and the sampler that advances them."""

from __future__ import annotations

from collections import abc, deque
from time import perf_counter

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.prefill_ahead import PrefillAhead, is_short, slots_ahead
from mpg_cli.engine.sequence import Sequence, decoding_of
from mpg_cli.sampling.sampler import Sampler


class Slots:
    """The slots of `rows`; the caller adds sequences, prefills them and runs rounds."""

    def __init__(self, rows: BlendRows) -> None:
        self.rows = rows
        self.sequences: list[Sequence | None] = [None] * rows.batch
        self.added: list[Sequence] = []  # to be prefilled
        self.ready: deque[Sequence] = deque()  # prefilled ahead, waiting for a slot
        self.started = 0  # sequences so far
        self._wanted = 0  # number of slots during a resize
        self._ahead: PrefillAhead | None = None
        self._sampler: Sampler | None = None

    @property
    def size(self) -> int:
        """Number of slots, including those of a resize that failed."""
        return max(len(self.sequences), self._wanted)

    @property
    def free(self) -> list[int]:
        """Indices of slots without a sequence."""
        return [slot for slot, sequence in enumerate(self.sequences) if sequence is None]

    @property
    def running(self) -> list[Sequence]:
        """The sequences in slots."""
        return [sequence for sequence in self.sequences if sequence is not None]

    @property
    def prefills_ahead(self) -> bool:
        """Whether short prompts beyond the free slots should be added."""
        room = self._sampler is not None and len(self.added) < slots_ahead(len(self.sequences))
        return room and all(map(is_short, self.added))

    def insert_ready(self) -> None:
        """Move sequences that were prefilled ahead into the free slots."""
        free = self.free[: len(self.ready)]
        if free:
            assert self._ahead is not None
            began = perf_counter()
            ready = list(self.ready)[: len(free)]
            self._ahead.insert(free)
            self._start(free, ready, perf_counter() - began + len(ready) * self._ahead.seconds)
            for _ in ready:  # last, so that a failure leaves them to be queued again
                self.ready.popleft()

    def prefill(self) -> None:
        """Prefill the added sequences and move them into free slots; the others are ready."""
        if not self.added:
            return
        began, added = perf_counter(), self.added
        if self._sampler is not None and len(added) > len(self.free):
            if self._ahead is None or self._ahead.size != slots_ahead(len(self.sequences)):
                self._ahead = PrefillAhead(self.rows)
            self._ahead.prefill(added)
            self.ready = deque(added)
            self.insert_ready()
        else:
            if self._sampler is None:
                self._begin(added)
            else:
                prompts, drafts = [own.prompts.rows for own in added], [own.prompts.draft for own in added]
                self.rows.insert(self.free[: len(added)], prompts, drafts)
            self._start(self.free[: len(added)], added, perf_counter() - began)
        self.added = []

    def _begin(self, added: abc.Sequence[Sequence]) -> None:
        """Start with these sequences, in as many slots."""
        if len(added) < len(self.sequences):
            self.sequences = [None] * len(added)
            self.rows.select(range(len(added)))
        rows = self.rows
        rows.prefill([own.prompts.rows for own in added], [own.prompts.draft for own in added])
        decoding, states = decoding_of(rows, added[0].prompts.request), [own.state for own in added]
        self._sampler = Sampler(rows.rows, rows.draft.drafter, decoding, states, rows.cost)

    def _start(self, slots: abc.Sequence[int], sequences: abc.Sequence[Sequence], seconds: float) -> None:
        """Run prefilled sequences in these slots; `seconds` is the time of their prefill."""
        assert self._sampler is not None
        for slot, sequence in zip(slots, sequences, strict=True):
            sequence.prefilled(seconds / len(sequences))
            self._sampler.insert(slot, sequence.state)
            self.sequences[slot] = sequence
        self.started += len(slots)

    def shrink(self) -> None:
        """Drop the free slots."""
        self._select([slot for slot, sequence in enumerate(self.sequences) if sequence is not None])

    def grow(self, size: int) -> None:
        """Grow to `size` slots; the new ones are free."""
        old = len(self.sequences)
        self._select([*range(old), *[0] * (size - old)])
        self.sequences[old:] = [None] * (size - old)

    def _select(self, slots: abc.Sequence[int]) -> None:
        assert self._sampler is not None
        self._wanted = len(slots)
        self.rows.select(slots)
        self._sampler.select(slots)
        self.sequences, self._wanted = [self.sequences[slot] for slot in slots], 0

    def round(self) -> abc.Iterator[tuple[Sequence, int]]:
        """Run one round; yields sequences and their numbers of new tokens. Finished ones free their slot."""
        assert self._sampler is not None
        slots = {own.id: (slot, own) for slot, own in enumerate(self.sequences) if own is not None}
        for next_round in self._sampler.round():
            slot, sequence = slots[next_round.sequence]
            round_, _ = sequence.accept(next_round)
            if round_.finish_reason is not None:
                self.sequences[slot] = None
            yield sequence, len(round_.tokens)
