"""The engine: every reply runs here. Clients submit requests and read events; none knows slots or rounds.

1. `submit` queues a request, from any thread; `cancel` ends it, at the latest in the next step.
2. `step` gives slots to waiting sequences, reads one block of their prompts, runs one round of all sequences
   whose prompts are read, and returns the events.
3. `run` and `replies` are loops of steps: `run` for many requests in any order, `replies` for a few in
   theirs. Several loops may take turns, also in threads: each gets the events of its own requests.

A reply depends on its request alone, not on what runs beside it (docs/algorithm.md, "Randomness").
"""

from __future__ import annotations

import secrets
from collections import abc, deque
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from time import sleep
from typing import Any, Literal, NamedTuple

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.blends import Blends, Report
from mpg_cli.engine.draft_policy import DraftPolicy
from mpg_cli.engine.events import (
    Event,
    Failed,
    FinishReason,
    Notice,
    Progress,
    Sized,
    Started,
    Text,
)
from mpg_cli.engine.memory import fitting_slots, need_of, room, with_adapters
from mpg_cli.engine.ordered import Ordered
from mpg_cli.engine.request import Request
from mpg_cli.engine.scheduler import Need, admitted
from mpg_cli.engine.sequence import Prompts, Sequence, description, law_of, prepare, sequence_ids
from mpg_cli.engine.slots import Slots
from mpg_cli.errors import ContextError, ModelError, MpgError, UsageError, brief, is_out_of_memory
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run.invariance import invariance_of
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.params import Scheme

_END = object()  # of a source

WHOLE_BATCH = 32  # sequences that are expected to run together while the number of slots is open
POLL = 0.02  # seconds between two looks at a source that has no request yet
WHOLE_BLOCK = 4  # blocks of prompts read at once while no sequence waits for its next round

Source = abc.Iterator[Request | Failed | None]  # None: no request is available yet; Failed is passed on
EngineEvent = Event | Failed | Sized | Progress


def _no_report(message: str) -> None:
    """Drop a progress message."""


@dataclass(eq=False)
class Handle:
    """A submitted request."""

    request: Request
    seed: int
    left: int  # samples without a final event
    events: deque[Emitted]  # where its events go
    begun: bool = False  # a sample has had a slot
    ending: FinishReason | None = None  # reason of a cancellation
    dropped: bool = False  # cancelled without events

    @property
    def cancelled(self) -> bool:
        return self.dropped or self.ending is not None


class Emitted(NamedTuple):
    """An event of a step, and the request that it belongs to, if it belongs to one."""

    handle: Handle | None
    event: EngineEvent


class Engine:
    """Runs requests on one loaded model; `batch_size` is the number of slots (None: by memory)."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        batch_size: int | None = None,
        max_experts: int | None = None,
        cache: ExpertCache | None = None,
        report: Report = _no_report,
    ) -> None:
        """`cache` holds loaded experts and drafting models (default: a new one for `max_experts`); `report`
        gets progress messages.
        """
        self.loaded = loaded
        self.prompt_tokens = 0  # of all rows of all sequences so far
        self._blends = Blends(loaded, ExpertCache(max_experts) if cache is None else cache, report)
        self._size = batch_size
        self._slots: Slots | None = None
        self._policy = DraftPolicy(shared=_follows_load(loaded))
        self._live: set[Handle] = set()  # all that have samples without a final event, in one of:
        self._inbox: deque[Handle] = deque()  # submitted since the last step
        self._queue: deque[Handle] = deque()
        self._waiting: deque[_Begun] = deque()  # sequences of the first requests of the queue
        self._running: dict[int, _Begun] = {}  # by slot
        self._held_back: _Begun | None = None  # the first in line, and those that overtook it
        self._overtook: list[_Begun] = []
        self._events: deque[Emitted] = deque()  # of requests of `submit`, for the next `step`
        self._step_lock = RLock()
        self._read_before = 0  # prompt tokens read in slots that are gone
        self._stopping: Literal["queued", "all"] | None = None  # what `run` drops
        self._closed = False

    @classmethod
    def load(cls, options: ModelOptions, report: Report = _no_report, **settings: Any) -> Engine:
        """Load a model; further keywords as for the constructor. Raises ModelError."""
        return cls(load_prepared(options, report), report=report, **settings)

    # -- requests --------------------------------------------------------------------------------

    def submit(self, request: Request) -> Handle:
        """Queue a request; its events come from later steps. Any thread may call it."""
        return self._submit(request, self._events)

    def _submit(self, request: Request, events: deque[Emitted]) -> Handle:
        self.check_open()
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        handle = Handle(request, seed, request.samples, events)
        self._live.add(handle)
        self._inbox.append(handle)
        return handle

    def cancel(self, handle: Handle, reason: FinishReason | None = "interrupted") -> None:
        """End a request in the next step: its running replies with this reason, or, if that is None, without
        any further event. Samples that have not begun are dropped. Any thread or signal handler may call it.
        """
        if reason is None:
            handle.dropped = True
        else:
            handle.ending = reason

    def interrupt(self, reason: FinishReason = "interrupted") -> None:
        """Cancel all requests so far. Any thread or signal handler may call it."""
        for handle in tuple(self._live):
            self.cancel(handle, reason)

    def prepare(self, request: Request, report: Report | None = None) -> list[str]:
        """Load experts and drafter of a request before it is submitted; returns messages for the user, which
        no event repeats. `report` gets progress messages in place of that of the engine.

        They stay loaded until another request is prepared. Raises PersonaError, AdapterError, ModelError.
        """
        self.check_open()
        with self._step_lock:
            self._blends.prepare(request, report)
            return self._blends.new_notices()

    def new_notices(self) -> list[str]:
        """Messages for the user that no event and no call has given yet: a blend that returns has the same
        ones.
        """
        with self._step_lock:
            return self._blends.new_notices()

    def prepare_drafter(self, scheme: Scheme) -> None:
        """Load the drafting model, where the scheme names one. Raises ModelError."""
        with self._step_lock:
            self._blends.prepare_drafter(scheme)

    def experts(self, request: Request) -> tuple[ExpertInfo, ...]:
        """The experts of a request, in the order of their rows. Raises as `prepare`."""
        with self._step_lock:
            return tuple(expert.info for expert in self._blends.rows(request).experts)

    def check(self, request: Request) -> None:
        """Raise MpgError if the model cannot take the blend or the prompt of a request."""
        with self._step_lock:
            prepare(self._blends.rows(request), request)

    def describe(self, request: Request) -> dict[str, Any]:
        """Rows, prompt lengths and memory of a request, for a dry run; nothing is generated."""
        with self._step_lock:
            rows = self._blends.rows(request)
            prompts = prepare(rows, request)
            return description(self._drafted(rows, prompts), prompts, request)

    # -- loops -----------------------------------------------------------------------------------

    def run(self, requests: Source) -> abc.Iterator[EngineEvent]:
        """The events of all requests, in any order. Memory does not grow with their number.

        None from `requests` means that none is available yet; the others run meanwhile.
        """
        events: deque[Emitted] = deque()
        over = False
        try:
            while True:
                idle = False
                queued = sum(handle.events is events and not handle.begun for handle in tuple(self._live))
                for _ in range(2 * self._most - queued):  # whatever other loops have queued
                    if over:
                        break
                    item = next(requests, _END) if self._stopping is None else _END
                    if isinstance(item, Request):
                        self._submit(item, events)
                    elif isinstance(item, Failed):
                        yield item
                    elif item is None:
                        idle = True
                        break
                    else:
                        over = True
                if self._stopping is not None:
                    over = True
                    self._drop(events, begun=self._stopping == "all")
                if self._advance(events):
                    yield from self._taken(events)
                elif over:
                    return
                elif idle:
                    sleep(POLL)
        finally:
            self._drop(events)
            self._stopping = None

    def stop(self, *, now: bool = False) -> None:
        """Let `run` begin no further request; with `now` it abandons the running ones, without events. Any
        thread or signal handler may call it.
        """
        self._stopping = "all" if now else "queued"

    def replies(self, *requests: Request) -> abc.Iterator[Event]:
        """The events of the replies to these requests, which run together, in their order: each sample of the
        first request, then of the next.

        Raises what ends a reply: ContextError if a prompt leaves no room, NumericsError if a model returns
        NaN, PersonaError and AdapterError where a blend cannot be loaded. After `interrupt` the replies that
        have begun end with what they have.
        """
        events: deque[Emitted] = deque()
        handles = [self._submit(request, events) for request in requests]
        ordered = Ordered([(handle, id_) for handle in handles for id_ in sequence_ids(handle.request)])
        try:
            while self._advance(events):
                with self._step_lock:  # no event of those that have ended comes later
                    found, ended = list(events), [own for own in handles if own not in self._live]
                    events.clear()
                for emitted in found:
                    yield from _raising(ordered.add(*emitted))
                yield from _raising(ordered.ended(ended))
            yield from _raising(ordered.ended(handles))
        finally:
            self._drop(events)

    @property
    def left(self) -> int:
        """Replies that have not ended."""
        return sum(handle.left for handle in tuple(self._live))

    def _drop(self, events: deque[Emitted], *, begun: bool = True) -> None:
        """Cancel, without events, the requests of a loop, or those of them that have not begun."""
        for handle in tuple(self._live):
            if handle.events is events and (begun or not handle.begun):
                self.cancel(handle, None)

    def _taken(self, events: deque[Emitted]) -> abc.Iterator[EngineEvent]:
        while events:
            yield events.popleft().event

    @property
    def busy(self) -> bool:
        """Whether a request is queued or running."""
        return bool(self._live)

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far, copied ones not counted."""
        return self._read_before + (0 if self._slots is None else self._slots.read_tokens)

    def close(self) -> None:
        """Free the memory of rows and experts; no request runs afterwards."""
        self._closed = True
        with self._step_lock:
            self._drop_rows()
            self._blends.close()
            for requests in (self._live, self._inbox, self._queue, self._waiting, self._running):
                requests.clear()

    def check_open(self) -> None:
        """Raise UsageError after `close`."""
        if self._closed:
            raise UsageError("the model is closed", hint="load it again")

    # -- a step ----------------------------------------------------------------------------------

    def step(self) -> list[Emitted]:
        """One block of prompts and one round of all running sequences; returns the events, but for those of
        loops.
        """
        with self._step_lock:
            self.check_open()
            self._step(self._events)
            found = list(self._events)
            self._events.clear()
            return found

    def _advance(self, events: deque[Emitted]) -> bool:
        """A step of a loop, unless its events have come meanwhile; False if none of its requests is left."""
        with self._step_lock:
            self.check_open()
            if not events and not any(handle.events is events for handle in tuple(self._live)):
                return False
            if not events:
                self._step(events)
            return True

    def _step(self, events: deque[Emitted]) -> None:
        """Events of no request go to `events`."""
        try:
            while self._inbox:
                self._queue.append(self._inbox.popleft())
            self._give(self._cancelled(), events)
            self._give(self._fill(), events)
            if self._slots is not None and self._running:
                slots = self._slots
                waiting = [own.sequence for own in self._waiting]
                slots.read(slots.block * (1 if slots.decoding else WHOLE_BLOCK), waiting)
                self._give(self._round(slots), events)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                self._abandon()
                raise
            self._give(self._shrink(), events)
        except BaseException:  # a pass that was cut short leaves the caches inconsistent
            self._abandon()
            raise

    def _give(self, found: abc.Iterable[Emitted], events: deque[Emitted]) -> None:
        """Pass events on to those that wait for them."""
        for emitted in found:
            (events if emitted.handle is None else emitted.handle.events).append(emitted)

    def _cancelled(self) -> abc.Iterator[Emitted]:
        """End what was cancelled since the last step."""
        for own in [own for own in self._waiting if own.handle.cancelled]:
            self._waiting.remove(own)
            yield from self._ended(own)
        for handle in [handle for handle in self._queue if handle.cancelled]:
            self._queue.remove(handle)
            self._end(handle, handle.left)
        for slot, own in [(slot, own) for slot, own in self._running.items() if own.handle.cancelled]:
            self._leave(slot)
            yield from self._ended(own)

    def _ended(self, own: _Begun) -> abc.Iterator[Emitted]:
        """The last events of a sequence that was cancelled: none if it has not begun."""
        handle = own.handle
        if own.started and handle.ending is not None and not handle.dropped:
            piece = own.sequence.interrupt(handle.ending)
            if piece:
                yield Emitted(handle, Text(own.sequence.id, piece))
            yield Emitted(handle, own.sequence.finished())
        self._end(handle)

    def _end(self, handle: Handle, count: int = 1) -> None:
        """Count samples of a request that have had their final event, or get none."""
        handle.left -= count
        if not handle.left:
            self._live.discard(handle)

    def _fill(self) -> abc.Iterator[Emitted]:
        """Give free slots to waiting sequences, first come, first served."""
        yield from self._begin_next()
        if not self._waiting:
            if self._slots is not None:
                self._slots.compact()
            return
        if self._slots is None:
            yield from self._make_slots()
        assert self._slots is not None
        free = len(self._slots.free)
        if not free:
            return
        needs = (with_adapters(own.need, own.sequence) for own in self._waiting)  # as far as slots are free
        running = [own.need for own in self._running.values()]
        held = self._slots.nbytes
        if self._held_back is not self._waiting[0]:
            self._held_back, self._overtook = None, []
        beside = [own.need for own in self._overtook if own in self._running.values()]
        places = admitted(needs, running, free, held + room(self.loaded.device.value), beside)
        begun = [self._waiting[place] for place in places]
        first = next((n for n in range(len(self._waiting)) if n not in places), None)  # of those that stay
        if first is not None:
            self._overtook += [self._waiting[place] for place in places if place > first]
            self._held_back = self._waiting[first]
        for own in begun:
            self._waiting.remove(own)
        slots = self._slots.free[: len(begun)]
        self._running |= dict(zip(slots, begun, strict=True))  # first: a failure puts them back
        self._slots.insert([own.sequence for own in begun])
        self._slots.compact()
        for own in begun:
            if not own.started:
                own.started = own.handle.begun = True
                yield Emitted(own.handle, Started(own.sequence.spec))
                if own.sequence.spec.prefill:
                    yield Emitted(own.handle, Text(own.sequence.id, own.sequence.spec.prefill))

    @property
    def _most(self) -> int:
        """Sequences that are prepared ahead."""
        return len(self._slots.sequences) if self._slots is not None else self._size or 1

    def _begin_next(self) -> abc.Iterator[Emitted]:
        """Make the sequences of the first requests of the queue."""
        while self._queue and len(self._waiting) < self._most:
            handle = self._queue[0]
            try:
                yield from self._begin(handle)
            except Exception as error:
                if not is_out_of_memory(error):  # else it is tried again beside fewer
                    self._queue.popleft()
                    self._end(handle, handle.left)
                    self._cut_short(handle, sequence_ids(handle.request)[0])
                raise
            self._queue.popleft()

    def _begin(self, handle: Handle) -> abc.Iterator[Emitted]:
        """Make the sequences of a request."""
        found = self._read(handle.request)
        yield from (Emitted(None, Notice(text)) for text in self._blends.new_notices())
        if isinstance(found, Failed):
            self._end(handle, handle.left)
            yield Emitted(handle, found)
            return
        rows, prompts = found
        yield from (Emitted(handle, Notice(text)) for text in prompts.notices)
        ids = sequence_ids(handle.request)
        self._waiting += (_Begun(handle, Sequence(rows, prompts, handle.seed, id_)) for id_ in ids)
        read = (*prompts.rows, *([prompts.draft] if rows.draft.steps else []))
        self.prompt_tokens += len(ids) * sum(len(prompt) - 1 for prompt in read)

    def _read(self, request: Request) -> tuple[BlendRows, Prompts] | Failed:
        """The rows and the prompts of a request, or why there are none."""
        first = sequence_ids(request)[0]
        try:
            rows = self._blends.rows(request)
        except MpgError as error:
            return Failed(first, "bad_persona", error)
        except OSError as error:
            return Failed(first, "bad_persona", _unreadable(error))
        except (MemoryError, RuntimeError) as error:
            if len(self._running) > 1 or not is_out_of_memory(error):
                raise
            return Failed(first, "no_memory", _no_memory("the experts"))
        try:
            prompts = prepare(rows, request)
            return self._drafted(rows, prompts), prompts
        except MpgError as error:
            return Failed(first, "too_long" if isinstance(error, ContextError) else "bad_value", error)

    def _make_slots(self) -> abc.Iterator[Emitted]:
        """Choose the number of slots by the memory that the first sequence takes, if it is not given."""
        if self._size is None:
            self._size, reason = fitting_slots(self._waiting[0].need, self.loaded.device.value)
            yield Emitted(None, Sized(self._size, reason))
        self._slots = Slots(self.loaded, self._size, self._policy)
        yield from self._begin_next()

    def _round(self, slots: Slots) -> abc.Iterator[Emitted]:
        """One round, and the end of the sequences that end in it."""
        tokens = 0
        rounds = slots.round()
        for slot, round_ in rounds.items():
            own = self._running[slot]
            if round_ is None:
                error = own.sequence.state.failure
                assert error is not None
                self._leave(slot, damaged=True)
                self._end(own.handle)
                yield Emitted(own.handle, Failed(own.sequence.id, "numerics", error))
                continue
            round_, piece = own.sequence.accept(round_)
            tokens += len(round_.tokens)
            yield Emitted(own.handle, round_)
            if piece:
                yield Emitted(own.handle, Text(own.sequence.id, piece))
            if own.sequence.finish_reason is not None:
                self._leave(slot)
                self._end(own.handle)
                yield Emitted(own.handle, own.sequence.finished())
        if rounds:
            yield Emitted(None, Progress(tokens, len(self._running)))

    def _leave(self, slot: int, *, damaged: bool = False) -> None:
        assert self._slots is not None
        del self._running[slot]
        self._slots.free_slot(slot, damaged=damaged)

    # -- failures --------------------------------------------------------------------------------

    def _shrink(self) -> abc.Iterator[Emitted]:
        """Go on with half of the slots: running sequences start again after the tokens that they have. One
        that ran alone fails.
        """
        running = list(self._running.values())
        self._running.clear()
        self._drop_rows()
        if len(running) > 1:
            self._waiting.extendleft(reversed(running))
            self._size = len(running) // 2
            yield Emitted(None, Sized(self._size, "memory ran out"))
        for own in running if len(running) == 1 else ():
            self._end(own.handle)
            yield Emitted(own.handle, Failed(own.sequence.id, "no_memory", _no_memory("one prompt")))

    def _abandon(self) -> None:
        """Fail the running sequences after an exception in the middle of a step."""
        for own in self._running.values():
            self._end(own.handle)
            self._cut_short(own.handle, own.sequence.id)
        self._running.clear()
        self._drop_rows()

    def _cut_short(self, handle: Handle, id_: int | str) -> None:
        error = ModelError("the reply was cut short by an error in a pass", hint="send it again")
        handle.events.append(Emitted(handle, Failed(id_, "cut_short", error)))

    def _drop_rows(self) -> None:
        if self._slots is not None:
            self._read_before += self._slots.read_tokens
            for pool in self._slots.pools:
                pool.reset()
        self._slots = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # -- blends ----------------------------------------------------------------------------------

    def _drafted(self, rows: BlendRows, prompts: Prompts) -> BlendRows:
        """The rows without their drafter where that was left to us and would make this sequence slower."""
        beside = min(self._size or WHOLE_BATCH, max(prompts.request.samples, self.left))
        worth = not rows.automatic or self._policy.worth(
            rows, law_of(self.loaded, prompts.request), max(1, beside)
        )
        return rows if worth else rows.without_drafter()


def _follows_load(loaded: LoadedModel) -> bool:
    """Whether texts of the exact rule do not depend on chunk sizes, at least up to near-ties."""
    return loaded.dtype.value == torch.float32 or invariance_of(loaded.model).text


@dataclass(eq=False)
class _Begun:
    """A sequence with the request that it belongs to."""

    handle: Handle
    sequence: Sequence
    started: bool = field(default=False)

    @cached_property
    def need(self) -> Need:
        return need_of(self.sequence)


def _raising(events: abc.Iterable[Event | Failed]) -> abc.Iterator[Event]:
    """The events up to a failure, which is raised."""
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        yield event


def _unreadable(error: OSError) -> ModelError:
    return ModelError(
        f"cannot read the files of the experts: {brief(error)}", hint="check that they exist and are readable"
    )


def _no_memory(what: str) -> ModelError:
    return ModelError(
        f"not enough memory for {what}",
        hint="choose a smaller model, --dtype or --max-tokens, or shorter prompts",
    )
