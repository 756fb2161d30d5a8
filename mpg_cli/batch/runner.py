"""Continuous batching: many lines through one model, each accepting its own length.

Lines of one blend and one way of sampling form a group and share their passes; a finished line gives its
place to the next one of the group. Groups take turns, in the order of their oldest waiting line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import torch

from mpg_cli.batch.ahead import PrefillAhead, is_short, places_ahead
from mpg_cli.batch.events import BatchEvent, LineDone, LineFailed, Progress, Sized
from mpg_cli.batch.lines import BadLine, Line, called, told
from mpg_cli.batch.room import fitting_batch
from mpg_cli.batch.waiting import GroupKey, Waiting
from mpg_cli.engine.blend_rows import Lineup
from mpg_cli.engine.events import Notice
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import Growing, Job, decoding_of, prepare
from mpg_cli.errors import ContextError, ModelError, MpgError, NumericsError, RangeError, is_out_of_memory
from mpg_cli.models.experts import Expert, ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.personas.registry import Blend
from mpg_cli.sampling.sampler import Sampler

LOOK_AHEAD = 8  # lines that wait for each place of a batch, so that groups find their own


class Runner:
    """Answers lines with one loaded model.

    `defaults` has the seed; `blends` resolves a line's persona expression (None: the command's own blend);
    `shelf` has experts that were read before.
    """

    def __init__(
        self,
        defaults: Request,
        loaded: LoadedModel,
        blends: Callable[[str | None], Blend | None],
        *,
        batch_size: int | None = None,
        max_experts: int | None = None,
        smaller: LoadedModel | None = None,
        shelf: ExpertCache | None = None,
    ) -> None:
        self._defaults, self._loaded, self._blends, self._smaller = defaults, loaded, blends, smaller
        self._bank = LoraBank.of(loaded.model)
        self._shelf = ExpertCache(max_experts) if shelf is None else shelf
        self._size = batch_size or 0  # 0: found by the first group
        self._waiting = Waiting()
        self._stopped = False
        self._said: set[str] = set()  # notices so far: a blend that comes again has the same

    def stop(self, *, now: bool = False) -> None:
        """Begin no further line; `now` gives up those under way as well."""
        self._waiting.closed = True
        self._stopped = now

    def run(self, lines: Iterator[Line | BadLine | None]) -> Iterator[BatchEvent]:
        """The events of all lines. Memory does not grow with their number.

        None among the lines says that there is none yet: what is there is answered meanwhile.
        """
        self._waiting.source = lines
        yield from self._read_ahead(wait=True)
        while self._waiting and not self._waiting.closed:
            yield from self._group(self._waiting.oldest)
            yield from self._read_ahead(wait=True)

    def check(self, line: Line) -> None:
        """Raise MpgError if the line's prompt cannot be put to the model (for a check before any work)."""
        lineup, _ = self._lineup(line, 1)
        try:
            self._prepare(lineup, line)
        finally:
            lineup.release()

    def _read_ahead(self, wait: bool = False) -> Iterator[BatchEvent]:
        yield from self._waiting.read(LOOK_AHEAD * max(1, self._size), wait=wait)

    # -- a group -----------------------------------------------------------------------------------

    def _group(self, key: GroupKey) -> Iterator[BatchEvent]:
        """Lines of one blend and one way of sampling, until none waits or others have their turn."""
        first = self._waiting.first(key)
        if first is None:  # a signal came
            return
        try:
            if not self._size:
                yield from self._choose_size(first)
            lineup, notices = self._lineup(first, min(self._most(key), self._waiting.count(key) or 1))
        except MpgError as error:
            # Whatever this blend cannot be loaded for, the others may be fine.
            while self._waiting.first(key) is not None:
                yield LineFailed(self._waiting.take(key), "bad_persona", told(error))
            return
        yield from self._tell(notices)
        group = _Group(lineup)
        try:
            yield from self._places(group, key)
        except (NumericsError, MemoryError, RuntimeError) as error:
            yield from self._recover(error, group)
        finally:
            group.lineup.release()

    def _choose_size(self, first: Line) -> Iterator[BatchEvent]:
        """Find the batch size that fits, by a lineup of the first line."""
        lineup, notices = self._lineup(first, 1)
        try:
            self._size, reason = fitting_batch(lineup)
        finally:
            lineup.release()
        yield from self._tell(notices)
        yield Sized(self._size, reason)
        yield from self._read_ahead()

    def _tell(self, notices: Sequence[str]) -> Iterator[Notice]:
        """Each notice once a run."""
        new = [text for text in dict.fromkeys(notices) if text not in self._said]
        self._said.update(new)
        yield from map(Notice, new)

    def _places(self, group: _Group, key: GroupKey) -> Iterator[BatchEvent]:
        """Rounds of a group; a free place gets the next line, or the batch shrinks."""
        while not self._stopped:
            yield from self._fill(group, key)
            if not group.running:
                yield from self._read_ahead(wait=True)  # what comes late finds all of it as it is
                if group.over or self._waiting.first(key) is None:
                    return
                continue
            if len(group.running) <= len(group.places) // 2:
                group.shrink()
            tokens = 0
            for line, growing, count in group.round():
                tokens += count
                if growing.finish_reason is not None:
                    yield LineDone(line, growing.started, growing.finished())
            yield Progress(tokens, len(group.running))
            yield from self._read_ahead()

    def _fill(self, group: _Group, key: GroupKey) -> Iterator[BatchEvent]:
        """A line for every free place; where prompts are to be read, those of the next lines with them."""
        if self._waiting.closed:
            return
        group.seat()
        group.over = group.over or self._had_its_turn(group, key)
        if group.over:
            return
        self._make_room(group, key)
        wanted = len(group.free)
        while wanted and (line := self._waiting.first(key)) is not None:
            if len(group.given) >= wanted and not group.prefills_ahead:
                break
            try:
                job = self._prepare(group.lineup, line)
            except MpgError as error:
                self._waiting.take(key)
                code = "too_long" if isinstance(error, ContextError) else "bad_value"
                yield LineFailed(line, code, told(error))
                continue
            if len(group.given) >= wanted and not is_short(job):
                break
            self._waiting.take(key)
            group.given.append((line, job))
        group.read()

    def _make_room(self, group: _Group, key: GroupKey) -> None:
        """More places for a group whose lines came late: twice as many, until those that wait have one."""
        most, places = self._most(key), len(group.places)
        if not group.started or places == most:
            return
        wanted = len(group.running) + len(group.ready) + self._waiting.count(key)
        while places < min(wanted, most):
            places *= 2  # every size has its own recordings under --compile
        if places > len(group.places):
            group.grow(min(places, most))
            group.seat()

    def _had_its_turn(self, group: _Group, key: GroupKey) -> bool:
        """Whether lines come late, and since others wait as many as there are places have begun."""
        if self._waiting.count(key) == len(self._waiting):
            group.rivals_since = None
            return False
        if group.rivals_since is None:
            group.rivals_since = group.started
        return self._waiting.late and group.started - group.rivals_since >= len(group.places)

    def _most(self, key: GroupKey) -> int:
        """How many lines of a key may run at once."""
        return 1 if key.alone else self._size

    def _recover(self, error: Exception, group: _Group) -> Iterator[BatchEvent]:
        """All lines of a group go back to the queue: after NaN the running ones, to go one by one; without
        memory there are fewer at a time.
        """
        running = {line.id: line for line, _ in group.running.values()}
        lines = {**running, **{line.id: line for line, _ in (*group.given, *group.ready)}}
        alone: Collection[str] = ()
        size = group.size
        if isinstance(error, NumericsError):
            if size == 1:
                for line in running.values():
                    del lines[line.id]
                    yield LineFailed(line, "numerics", error.message)
            alone = running
        elif not is_out_of_memory(error):
            raise error
        elif size == 1:
            raise ModelError(
                "not enough memory for one prompt",
                hint="choose a smaller model, a smaller --dtype or --max-tokens, or shorter prompts",
            ) from None
        else:
            self._size = max(1, size // 2)
            yield Sized(self._size, "memory ran out")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        self._waiting.give_back(lines.values(), alone)

    # -- what a line becomes -------------------------------------------------------------------------

    def _request(self, line: Line) -> Request:
        blend = self._blends(line.persona)
        return replace(
            self._defaults,
            prompting=line.prompting,
            sampling=line.sampling,
            blend=blend,
            adapters=self._defaults.adapters if line.persona is None else (),
            seed=self._defaults.seed if line.seed is None else line.seed,
            sequence_id=line.id,
        )

    def _prepare(self, lineup: Lineup, line: Line) -> Job:
        try:
            return prepare(lineup, self._request(line))
        except RangeError as error:
            raise called(error, line.names) from None

    def _lineup(self, line: Line, batch: int) -> tuple[Lineup, list[str]]:
        request, said = self._request(line), list[str]()
        experts = self._experts(request, said)
        lineup = Lineup(self._loaded, self._bank, experts, request.scheme, batch=batch, smaller=self._smaller)
        return lineup, [*said, *lineup.notices]

    def _experts(self, request: Request, said: list[str]) -> tuple[Expert, ...]:
        """The experts of a blend, from the shelf where they are."""
        return find_experts(
            request.blend, request.adapters, self._loaded, lambda message: None, said.append, self._shelf
        )


class _Group:
    """The places of a lineup: who runs where, and the sampler that moves them."""

    def __init__(self, lineup: Lineup) -> None:
        self.lineup = lineup
        self.places: list[str | None] = [None] * lineup.batch  # ids of running lines
        self.running: dict[int | str, tuple[Line, Growing]] = {}
        self.given: list[tuple[Line, Job]] = []  # prompts still to be read
        self.ready: deque[tuple[Line, Job]] = deque()  # prompts that were read ahead
        self.started = 0  # lines so far
        self.rivals_since: int | None = None  # lines that had begun when others began to wait
        self.over = False  # it takes no more
        self._asked = 0  # places that are being made
        self._ahead: PrefillAhead | None = None
        self._sampler: Sampler | None = None

    @property
    def size(self) -> int:
        """Places, those that are being made too."""
        return max(len(self.places), self._asked)

    @property
    def free(self) -> list[int]:
        """Places without a line."""
        return [place for place, id_ in enumerate(self.places) if id_ is None]

    @property
    def prefills_ahead(self) -> bool:
        """Whether short prompts of further lines should be read with those that were given."""
        left = self._sampler is not None and len(self.given) < places_ahead(len(self.places))
        return left and all(is_short(job) for _, job in self.given)

    def seat(self) -> None:
        """Lines whose prompts were read ahead begin in the free places."""
        free = self.free[: len(self.ready)]
        if free:
            assert self._ahead is not None
            began = perf_counter()
            lines = list(self.ready)[: len(free)]
            self._ahead.seat(free)
            self._start(free, lines, perf_counter() - began + len(lines) * self._ahead.seconds)
            for _ in lines:  # not before: what fails goes back to the queue
                self.ready.popleft()

    def read(self) -> None:
        """Read the prompts of the lines that were given, those of like length together.

        They begin, as far as there are places for them.
        """
        if not self.given:
            return
        began, lines = perf_counter(), self.given
        jobs = [job for _, job in lines]
        if self._sampler is not None and len(lines) > len(self.free):
            if self._ahead is None or self._ahead.size != places_ahead(len(self.places)):
                self._ahead = PrefillAhead(self.lineup)
            self._ahead.read(jobs)
            self.ready = deque(lines)
            self.seat()
        else:
            if self._sampler is None:
                self._begin(jobs)
            else:
                prompts, drafts = [job.prompts for job in jobs], [job.draft for job in jobs]
                self.lineup.replace(self.free[: len(jobs)], prompts, drafts)
            self._start(self.free[: len(lines)], lines, perf_counter() - began)
        self.given = []

    def _begin(self, jobs: Sequence[Job]) -> None:
        """The first lines: the batch is as large as they are many."""
        if len(self.given) < len(self.places):
            self.places = [None] * len(self.given)
            self.lineup.select(range(len(self.given)))
        self.lineup.prefill([job.prompts for job in jobs], [job.draft for job in jobs])
        states = [Growing(self.lineup, job, 0, 0).state for job in jobs]  # replaced in a moment
        lineup, how = self.lineup, decoding_of(self.lineup, jobs[0].request)
        self._sampler = Sampler(lineup.rows, lineup.draft.drafter, how, states, lineup.cost)

    def _start(self, places: Sequence[int], lines: Sequence[tuple[Line, Job]], seconds: float) -> None:
        """The lines whose prompts are read, within so many seconds, run in these places."""
        assert self._sampler is not None
        for place, (line, job) in zip(places, lines, strict=True):
            request = job.request
            assert request.seed is not None
            growing = Growing(self.lineup, job, request.seed, line.id)
            growing.prefilled(seconds / len(lines))
            self._sampler.insert(place, growing.state)
            self.places[place] = line.id
            self.running[line.id] = (line, growing)
        self.started += len(places)

    def shrink(self) -> None:
        """Drop the free places: no line waits for them."""
        self._select([place for place, id_ in enumerate(self.places) if id_ is not None])

    def grow(self, size: int) -> None:
        """Make so many places of them; the new ones are free."""
        old = len(self.places)
        self._select([*range(old), *[0] * (size - old)])
        self.places[old:] = [None] * (size - old)

    def _select(self, places: Sequence[int]) -> None:
        assert self._sampler is not None
        self._asked = len(places)
        self.lineup.select(places)
        self._sampler.select(places)
        self.places, self._asked = [self.places[place] for place in places], 0

    def round(self) -> Iterator[tuple[Line, Growing, int]]:
        """One round: every running line with the tokens it got; the finished ones leave their place."""
        assert self._sampler is not None
        for drawn in self._sampler.round():
            line, growing = self.running[drawn.sequence]
            round_, _ = growing.add(drawn)
            if round_.finish_reason is not None:
                place = self.places.index(line.id)
                self.places[place] = None
                del self.running[line.id]
            yield line, growing, len(round_.tokens)
