"""The engine: every reply runs here. Clients submit requests and read events; none knows slots or rounds.

1. `submit` queues a request, from any thread; `cancel` ends it, at the latest in the next step.
2. `step` gives slots to waiting sequences, reads one block of their prompts, runs one round of all sequences
   whose prompts are read, and returns the events.
3. `run` and `replies` are loops of `step`: `run` for many requests in any order, `replies` for a few in
   theirs.

A reply depends on its request alone, not on what runs beside it (docs/algorithm.md, "Batches").
"""

from __future__ import annotations

import secrets
from collections import abc, deque
from dataclasses import dataclass, field
from threading import Lock, RLock
from time import sleep
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import torch

from mpg_cli.engine.blend_rows import BlendRows
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
from mpg_cli.engine.memory import fitting_slots, need_of, room
from mpg_cli.engine.ordered import Ordered
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import DESCRIPTION
from mpg_cli.engine.scheduler import admitted
from mpg_cli.engine.sequence import Prompts, Sequence, prepare, run_spec
from mpg_cli.engine.slots import Slots
from mpg_cli.errors import ContextError, ModelError, MpgError, UsageError, is_out_of_memory
from mpg_cli.models.experts import ExpertCache, find_drafter, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions

POLL = 0.02  # seconds between two looks at a source that has no request yet
WHOLE_BLOCK = 4  # blocks of prompts read at once while no sequence waits for its next round

Report = abc.Callable[[str], None]
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
    ending: FinishReason | None = None  # reason of a cancellation
    dropped: bool = False  # cancelled without events


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
        self._cache = ExpertCache(max_experts) if cache is None else cache
        self._report = report
        self._size = batch_size
        self._slots: Slots | None = None
        self._blends: WeakValueDictionary[abc.Hashable, BlendRows] = WeakValueDictionary()
        self._prepared: BlendRows | None = None  # of the last `prepare`, kept loaded
        self._noticed: set[str] = set()
        self._queue: deque[Handle] = deque()
        self._waiting: deque[_Begun] = deque()  # sequences of the first requests of the queue
        self._running: dict[int, _Begun] = {}  # by slot
        self._inbox: deque[Handle] = deque()
        self._inbox_lock, self._step_lock = Lock(), RLock()
        self._draining = False
        self._closed = False

    @classmethod
    def load(cls, options: ModelOptions, report: Report = _no_report, **settings: Any) -> Engine:
        """Load a model; further keywords as for the constructor. Raises ModelError."""
        return cls(load_prepared(options, report), report=report, **settings)

    # -- requests --------------------------------------------------------------------------------

    def submit(self, request: Request) -> Handle:
        """Queue a request; its events come from later steps. Any thread may call it."""
        self.check_open()
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        handle = Handle(request, seed, request.samples)
        with self._inbox_lock:
            self._inbox.append(handle)
        return handle

    def cancel(self, handle: Handle, reason: FinishReason | None = "interrupted") -> None:
        """End a request in the next step: its running replies with this reason, or, if that is None, without
        any further event. Samples without a slot are dropped. Any thread or signal handler may call it.
        """
        if reason is None:
            handle.dropped = True
        else:
            handle.ending = reason

    def prepare(self, request: Request) -> list[str]:
        """Load experts and drafter of a request before it is submitted; returns messages for the user.

        They stay loaded until another request is prepared. Raises PersonaError, AdapterError, ModelError.
        """
        self.check_open()
        with self._step_lock:
            self._prepared, notices = self._blend(request)
            return [notice for notice in notices if self._is_new(notice)]

    def check(self, request: Request) -> None:
        """Raise MpgError if the model cannot take the blend or the prompt of a request."""
        with self._step_lock:
            rows, _ = self._blend(request)
            prepare(rows, request)

    def describe(self, request: Request) -> dict[str, Any]:
        """Rows, prompt lengths and memory of a request, for a dry run; nothing is generated."""
        with self._step_lock:
            rows, _ = self._blend(request)
            return _description(rows, prepare(rows, request), request)

    # -- loops -----------------------------------------------------------------------------------

    def run(self, requests: Source) -> abc.Iterator[EngineEvent]:
        """The events of all requests, in any order. Memory does not grow with their number.

        None from `requests` means that none is available yet; the others run meanwhile.
        """
        self._draining, over = False, False
        while True:
            idle = False
            while not (over or self._draining) and len(self._inbox) + len(self._queue) < 2 * self._most:
                try:
                    item = next(requests)
                except StopIteration:
                    over = True
                    break
                if isinstance(item, Failed):
                    yield item
                elif item is None:
                    idle = True
                    break
                else:
                    self.submit(item)
            if not self.busy:
                if over or self._draining:
                    return
                if idle:
                    sleep(POLL)
                continue
            for emitted in self.step():
                yield emitted.event

    def replies(self, *requests: Request) -> abc.Iterator[Event]:
        """The events of the replies to these requests, which run together, in their order: each sample of the
        first request, then of the next.

        Raises what ends a reply: ContextError if a prompt leaves no room, NumericsError if a model returns
        NaN, PersonaError and AdapterError where a blend cannot be loaded. `interrupt` ends all of them.
        """
        return self._replies([self.submit(request) for request in requests])

    def _replies(self, handles: abc.Sequence[Handle]) -> abc.Iterator[Event]:
        ordered = Ordered(
            [(handle, sample) for handle in handles for sample in range(handle.request.samples)]
        )
        try:
            while any(handle.left for handle in handles):
                self.check_open()
                for handle, event in self.step():
                    if isinstance(event, Failed):
                        raise event.error
                    if isinstance(event, Sized | Progress):
                        continue
                    yield from ordered.add(handle, event)
                yield from ordered.ended(handle for handle in handles if not handle.left)
        finally:
            for handle in handles:
                if handle.left:
                    self.cancel(handle, None)

    def interrupt(self, reason: FinishReason = "interrupted") -> None:
        """End all requests at the next step. Any thread or signal handler may call it."""
        with self._inbox_lock:
            waiting = [*self._inbox, *self._queue]
        for handle in (*waiting, *(own.handle for own in (*self._waiting, *self._running.values()))):
            self.cancel(handle, reason)

    def stop(self, *, now: bool = False) -> None:
        """Let `run` begin no further request; with `now` it abandons the running ones, without events."""
        self._draining = True
        for own in (*self._waiting, *(tuple(self._running.values()) if now else ())):
            self.cancel(own.handle, None)

    @property
    def busy(self) -> bool:
        """Whether a request is queued or running."""
        return bool(self._inbox or self._queue or self._waiting or self._running)

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far, copied ones not counted."""
        return 0 if self._slots is None else self._slots.read_tokens

    def close(self) -> None:
        """Free the memory of rows and experts; no request runs afterwards."""
        self._closed = True
        with self._step_lock:
            if self._slots is not None:
                for pool in self._slots.pools:
                    pool.reset()
            self._slots = self._prepared = None
            for waiting in (self._queue, self._waiting, self._running):
                waiting.clear()

    def check_open(self) -> None:
        """Raise UsageError after `close`."""
        if self._closed:
            raise UsageError("the model is closed", hint="load it again")

    # -- a step ----------------------------------------------------------------------------------

    def step(self) -> list[Emitted]:
        """One block of prompts and one round of all running sequences; returns the events."""
        with self._step_lock:
            found: list[Emitted] = []
            with self._inbox_lock:
                self._queue += self._inbox
                self._inbox.clear()
            try:
                found += self._cancelled()
                found += self._fill()
                if self._slots is not None and self._running:
                    slots = self._slots
                    slots.read(slots.block * (1 if slots.decoding else WHOLE_BLOCK))
                    found += self._round(slots)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    self._abandon()
                    raise
                found += self._shrink()
            except BaseException:  # a pass that was cut short leaves the caches inconsistent
                self._abandon()
                raise
            return found

    def _cancelled(self) -> abc.Iterator[Emitted]:
        """End what was cancelled since the last step."""
        ended = [own for own in self._waiting if own.handle.ending or own.handle.dropped]
        for own in ended:
            self._waiting.remove(own)
            own.handle.left -= 1
        for handle in [handle for handle in self._queue if handle.ending or handle.dropped]:
            self._queue.remove(handle)
            handle.left = 0
        for slot, own in list(self._running.items()):
            if own.handle.dropped or own.handle.ending:
                self._leave(slot)
                if own.handle.ending and not own.handle.dropped:
                    piece = own.sequence.interrupt(own.handle.ending)
                    if piece:
                        yield Emitted(own.handle, Text(own.sequence.id, piece))
                    yield Emitted(own.handle, own.sequence.finished())

    def _fill(self) -> abc.Iterator[Emitted]:
        """Give free slots to waiting sequences, first come, first served."""
        if self._draining:
            return
        while self._queue and len(self._waiting) < self._most:
            yield from self._begin(self._queue.popleft())
        if not self._waiting:
            if self._slots is not None and not self._queue:
                self._slots.compact()
            return
        if self._slots is None:
            yield from self._make_slots()
        assert self._slots is not None
        free = len(self._slots.free)
        if not free:
            return
        needs, running = ([own.need for own in part] for part in (self._waiting, self._running.values()))
        held = sum(pool.nbytes() for pool in self._slots.pools)
        places = admitted(needs, running, free, held + room(self.loaded.device.value))
        begun = [self._waiting[place] for place in places]
        for own in begun:
            self._waiting.remove(own)
        slots = self._slots.free[: len(begun)]
        self._running |= dict(zip(slots, begun, strict=True))  # first: a failure puts them back
        self._slots.insert([own.sequence for own in begun])
        for own in begun:
            if not own.started:
                own.started = True
                yield Emitted(own.handle, Started(own.sequence.spec))
                if own.sequence.spec.prefill:
                    yield Emitted(own.handle, Text(own.sequence.id, own.sequence.spec.prefill))

    @property
    def _most(self) -> int:
        """Sequences that are prepared ahead."""
        return len(self._slots.sequences) if self._slots is not None else self._size or 1

    def _begin(self, handle: Handle) -> abc.Iterator[Emitted]:
        """Make the sequences of a request."""
        request = handle.request
        first = request.sequence_id if request.sequence_id is not None else 0
        try:
            rows, notices = self._blend(request)
        except MpgError as error:
            handle.left = 0
            yield Emitted(handle, Failed(first, "bad_persona", error))
            return
        try:
            prompts = prepare(rows, request)
        except MpgError as error:
            handle.left = 0
            code = "too_long" if isinstance(error, ContextError) else "bad_value"
            yield Emitted(handle, Failed(first, code, error))
            return
        for text in (*self.loaded.notices, *notices, *prompts.notices):
            if self._is_new(text):
                yield Emitted(handle, Notice(text))
        for sample in range(request.samples):
            id_ = request.sequence_id if request.sequence_id is not None else sample
            self._waiting.append(_Begun(handle, Sequence(rows, prompts, handle.seed, id_)))
        self.prompt_tokens += request.samples * sum(
            len(ids) - 1 for ids in (*prompts.rows, *([prompts.draft] if rows.draft.steps else []))
        )

    def _make_slots(self) -> abc.Iterator[Emitted]:
        """Choose the number of slots by the memory that the first sequence takes, if it is not given."""
        if self._size is None:
            self._size, reason = fitting_slots(self._waiting[0].need, self.loaded.device.value)
            yield Emitted(None, Sized(self._size, reason))
        self._slots = Slots(self.loaded, self._size)
        while self._queue and len(self._waiting) < self._size:
            yield from self._begin(self._queue.popleft())

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
                yield Emitted(own.handle, Failed(own.sequence.id, "numerics", error))
                continue
            round_, piece = own.sequence.accept(round_)
            tokens += len(round_.tokens)
            yield Emitted(own.handle, round_)
            if piece:
                yield Emitted(own.handle, Text(own.sequence.id, piece))
            if own.sequence.finish_reason is not None:
                self._leave(slot)
                yield Emitted(own.handle, own.sequence.finished())
        if rounds:
            yield Emitted(None, Progress(tokens, len(self._running)))

    def _leave(self, slot: int, *, damaged: bool = False) -> None:
        assert self._slots is not None
        own = self._running.pop(slot)
        own.handle.left -= 1
        self._slots.free_slot(slot, damaged=damaged)

    # -- failures --------------------------------------------------------------------------------

    def _shrink(self) -> abc.Iterator[Emitted]:
        """Go on with half of the slots: running sequences start again after the tokens that they have."""
        size = len(self._running)
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._drop_rows()
        if size <= 1:
            self._waiting.clear()
            raise ModelError(
                "not enough memory for one prompt",
                hint="choose a smaller model, --dtype or --max-tokens, or shorter prompts",
            ) from None
        self._size = size // 2
        yield Emitted(None, Sized(self._size, "memory ran out"))

    def _abandon(self) -> None:
        """Drop the running sequences after an exception in the middle of a step."""
        for own in self._running.values():
            own.handle.left -= 1
        self._running.clear()
        self._drop_rows()

    def _drop_rows(self) -> None:
        if self._slots is not None:
            for pool in self._slots.pools:
                pool.reset()
        self._slots = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # -- blends ----------------------------------------------------------------------------------

    def _blend(self, request: Request) -> tuple[BlendRows, tuple[str, ...]]:
        """The rows of the blend of a request, and messages for the user if they were not loaded yet."""
        key = request.blend, request.adapters, request.scheme
        rows = self._blends.get(key)
        if rows is not None:
            return rows, ()
        notices: list[str] = []
        experts = find_experts(
            request.blend, request.adapters, self.loaded, self._report, notices.append, self._cache
        )
        smaller = find_drafter(request.scheme, self.loaded, self._report, self._cache)
        rows = self._blends[key] = BlendRows.of(self.loaded, experts, request.scheme, smaller)
        return rows, (*notices, *(smaller.notices if smaller else ()), *rows.notices)

    def _is_new(self, notice: str) -> bool:
        """Whether this engine has not given a message yet."""
        new = notice not in self._noticed
        self._noticed.add(notice)
        return new


@dataclass(eq=False)
class _Begun:
    """A sequence with the request that it belongs to."""

    handle: Handle
    sequence: Sequence
    started: bool = field(default=False)

    @property
    def need(self) -> Any:
        return need_of(self.sequence)


def _description(rows: BlendRows, prompts: Prompts, request: Request) -> dict[str, Any]:
    """A request with its rows, for a dry run."""
    spec = run_spec(rows, prompts, request.seed or 0, 0)
    lengths = [len(ids) for ids in prompts.rows]
    found: list[dict[str, object]] = [
        {"row": "reference", "kind": "base", "weight": None, "prompt_tokens": lengths[0]}
    ]
    for e, tokens in zip(rows.experts, lengths[1:], strict=True):
        basis = {"basis": e.basis} if e.basis else {}
        found.append({"row": e.name, "kind": e.kind, "weight": e.weight, "prompt_tokens": tokens} | basis)
    return {
        **spec.part(*DESCRIPTION),
        "device": f"{spec.model.device} ({spec.model.device_reason})",
        "dtype": f"{spec.model.dtype} ({spec.model.dtype_reason})",
        "seed": request.seed,
        "samples": request.samples,
        "rows": found,
        "memory": rows.memory(),
    }
