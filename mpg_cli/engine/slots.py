"""The slots of a blend's passes: which sequence each holds, and the sampler that advances them."""

from __future__ import annotations

from collections import abc, deque
from time import perf_counter

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.prefill_ahead import PrefillAhead, is_short, slots_ahead
from mpg_cli.engine.sequence import Sequence, decoding_of
from mpg_cli.sampling.sampler import Sampler


class Slots:
    """The slots of `rows`; the caller adds sequences, prefills them and takes rounds."""

    def __init__(self, rows: BlendRows) -> None:
        self.rows = rows
        self.sequences: list[Sequence | None] = [None] * rows.batch
        self.added: list[Sequence] = []  # to be prefilled
        self.ready: deque[Sequence] = deque()  # prefilled ahead, waiting for a slot
        self.started = 0  # sequences so far
        self._wanted = 0  # slots while they are being made
        self._ahead: PrefillAhead | None = None
        self._sampler: Sampler | None = None

    @property
    def size(self) -> int:
        """Slots, those that are being made included."""
        return max(len(self.sequences), self._wanted)

    @property
    def free(self) -> list[int]:
        """Slots without a sequence."""
        return [slot for slot, sequence in enumerate(self.sequences) if sequence is None]

    @property
    def running(self) -> list[Sequence]:
        """The sequences in slots."""
        return [sequence for sequence in self.sequences if sequence is not None]

    @property
    def prefills_ahead(self) -> bool:
        """Whether short prompts beyond the free slots should be added."""
        left = self._sampler is not None and len(self.added) < slots_ahead(len(self.sequences))
        return left and all(map(is_short, self.added))

    def insert_ready(self) -> None:
        """Sequences that were prefilled ahead begin in the free slots."""
        free = self.free[: len(self.ready)]
        if free:
            assert self._ahead is not None
            began = perf_counter()
            ready = list(self.ready)[: len(free)]
            self._ahead.insert(free)
            self._start(free, ready, perf_counter() - began + len(ready) * self._ahead.seconds)
            for _ in ready:  # not before: what fails goes back to the queue
                self.ready.popleft()

    def prefill(self) -> None:
        """Prefill the added sequences, those of like length together; they begin where a slot is free."""
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
        """The first sequences: as many slots as there are of them."""
        if len(added) < len(self.sequences):
            self.sequences = [None] * len(added)
            self.rows.select(range(len(added)))
        rows = self.rows
        rows.prefill([own.prompts.rows for own in added], [own.prompts.draft for own in added])
        how, states = decoding_of(rows, added[0].prompts.request), [own.state for own in added]
        self._sampler = Sampler(rows.rows, rows.draft.drafter, how, states, rows.cost)

    def _start(self, slots: abc.Sequence[int], sequences: abc.Sequence[Sequence], seconds: float) -> None:
        """Sequences that were prefilled, within so many seconds, run in these slots."""
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
        """Make it so many slots; the new ones are free."""
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
        """One round: running sequences, with the tokens that each got; finished ones free their slot."""
        assert self._sampler is not None
        slots = {own.id: (slot, own) for slot, own in enumerate(self.sequences) if own is not None}
        for drawn in self._sampler.round():
            slot, sequence = slots[drawn.sequence]
            round_, _ = sequence.accept(drawn)
            if round_.finish_reason is not None:
                self.sequences[slot] = None
            yield sequence, len(round_.tokens)
