"""The engine: every reply runs here. Clients submit requests and read events; none knows slots or rounds.

1. `submit` queues a request, from any thread; `cancel` ends it, at the latest in the next step.
2. `step` goes on with all of them by one round, see `EngineCore`, and returns the events.
3. `run` and `replies` are loops of steps: `run` for many requests in any order, `replies` for a few in
   theirs. Several loops may take turns, also in threads: each gets the events of its own requests.

A reply depends on its request alone, not on what runs beside it (docs/algorithm.md, "Randomness").
"""

from __future__ import annotations

from collections import abc, deque
from threading import RLock
from time import sleep
from typing import Any, Literal

from mpg_cli.engine.blends import Blends, Report
from mpg_cli.engine.core import Emitted, EngineCore, Handle
from mpg_cli.engine.events import EngineEvent, Event, Failed, FinishReason
from mpg_cli.engine.ordered import Ordered
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import description, prepare, sequence_ids
from mpg_cli.errors import UsageError
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.params import Scheme

_END = object()  # of a source

POLL = 0.02  # seconds between two looks at a source that has no request yet

Source = abc.Iterator[Request | Failed | None]  # None: no request is available yet; Failed is passed on


def _no_report(message: str) -> None:
    """Drop a progress message."""


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
        self._blends = Blends(loaded, ExpertCache(max_experts) if cache is None else cache, report)
        self._core = EngineCore(loaded, self._blends, batch_size)
        self._events: deque[Emitted] = deque()  # of requests of `submit`, for the next `step`
        self._step_lock = RLock()
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
        return self._core.submit(request, events)

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
        for handle in tuple(self._core.live):
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
            return description(self._core.drafted(rows, prompts), prompts, request)

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
                live = tuple(self._core.live)
                queued = sum(handle.events is events and not handle.begun for handle in live)
                for _ in range(2 * self._core.most - queued):  # whatever other loops have queued
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
                    while events:
                        yield events.popleft().event
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
                    found, ended = list(events), [own for own in handles if own not in self._core.live]
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
        return self._core.left

    def _drop(self, events: deque[Emitted], *, begun: bool = True) -> None:
        """Cancel, without events, the requests of a loop, or those of them that have not begun."""
        for handle in tuple(self._core.live):
            if handle.events is events and (begun or not handle.begun):
                self.cancel(handle, None)

    @property
    def busy(self) -> bool:
        """Whether a request is queued or running."""
        return bool(self._core.live)

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far, copied ones not counted."""
        return self._core.read_tokens

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all rows of all sequences so far."""
        return self._core.prompt_tokens

    def close(self) -> None:
        """Free the memory of rows and experts; no request runs afterwards."""
        self._closed = True
        with self._step_lock:
            self._core.close()

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
            self._core.step(self._events)
            found = list(self._events)
            self._events.clear()
            return found

    def _advance(self, events: deque[Emitted]) -> bool:
        """A step of a loop, unless its events have come meanwhile; False if none of its requests is left."""
        with self._step_lock:
            self.check_open()
            if not events and not any(handle.events is events for handle in tuple(self._core.live)):
                return False
            if not events:
                self._core.step(events)
            return True


def _raising(events: abc.Iterable[Event | Failed]) -> abc.Iterator[Event]:
    """The events up to a failure, which is raised."""
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        yield event
