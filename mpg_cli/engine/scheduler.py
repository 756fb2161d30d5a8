"""Continuous batching: many requests through one model, each sequence accepting its own length.

Requests of one blend and one way of sampling form a group and share their passes; the slot of a finished
sequence goes to the next request of the group. Groups take turns, in the order of their oldest request.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass

import torch

from mpg_cli.engine.batch_size import fitting_batch
from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.events import Failed, Finished, Notice, Progress, Sized
from mpg_cli.engine.prefill_ahead import is_short
from mpg_cli.engine.queue import GroupKey, Queue, Source
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import Sequence, prepare
from mpg_cli.engine.slots import Slots
from mpg_cli.errors import ContextError, ModelError, MpgError, NumericsError, is_out_of_memory
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora import LoraBank

LOOK_AHEAD = 8  # requests in the queue for each slot, so that groups find their own

SchedulerEvent = Notice | Sized | Progress | Finished | Failed


class Scheduler:
    """Replies to requests with one loaded model.

    Each request has a seed and a sequence id of its own. `smaller` is the model that drafts, where their
    scheme names one; `cache` has experts that were read before, else it holds `max_experts`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        batch_size: int | None = None,
        max_experts: int | None = None,
        smaller: LoadedModel | None = None,
        cache: ExpertCache | None = None,
    ) -> None:
        self._loaded, self._smaller = loaded, smaller
        self._bank = LoraBank.of(loaded.model)
        self._cache = ExpertCache(max_experts) if cache is None else cache
        self._size = batch_size or 0  # 0: found by the first group
        self._queue = Queue()
        self._stopped = False
        self._noticed: set[str] = set()  # a blend that comes again has the same notices

    def stop(self, *, now: bool = False) -> None:
        """Begin no further request; `now` gives up the running ones as well."""
        self._queue.closed = True
        self._stopped = now

    def run(self, requests: Source) -> abc.Iterator[SchedulerEvent]:
        """The events of all requests, in any order. Memory does not grow with their number.

        None among the requests says that none has come yet: the queue is worked on meanwhile.
        """
        self._queue.source = requests
        yield from self._read(wait=True)
        while self._queue and not self._queue.closed:
            yield from self._run_group(self._queue.oldest)
            yield from self._read(wait=True)

    def check(self, request: Request) -> None:
        """Raise MpgError if the request's prompt cannot be put to the model (for a check before any work)."""
        rows, _ = self._blend_rows(request, 1)
        try:
            prepare(rows, request)
        finally:
            rows.release()

    def _read(self, wait: bool = False) -> abc.Iterator[Failed]:
        yield from self._queue.read(LOOK_AHEAD * max(1, self._size), wait=wait)

    # -- a group -----------------------------------------------------------------------------------

    def _run_group(self, key: GroupKey) -> abc.Iterator[SchedulerEvent]:
        """Requests of one key, until none waits or others have their turn."""
        first = self._queue.first(key)
        if first is None:  # a signal came
            return
        try:
            if not self._size:
                yield from self._choose_size(first)
            rows, notices = self._blend_rows(first, min(self._most(key), self._queue.count(key) or 1))
        except MpgError as error:
            # Whatever this blend cannot be loaded for, the others may be fine.
            while self._queue.first(key) is not None:
                yield _failed(self._queue.take(key), "bad_persona", error)
            return
        yield from self._new(notices)
        group = _Group(key, Slots(rows))
        try:
            yield from self._rounds(group)
        except (NumericsError, MemoryError, RuntimeError) as error:
            yield from self._recover(error, group.slots)
        finally:
            rows.release()

    def _choose_size(self, first: Request) -> abc.Iterator[SchedulerEvent]:
        """Find the batch size that fits, by the rows of the first request."""
        rows, notices = self._blend_rows(first, 1)
        try:
            self._size, reason = fitting_batch(rows)
        finally:
            rows.release()
        yield from self._new(notices)
        yield Sized(self._size, reason)
        yield from self._read()

    def _new(self, notices: abc.Sequence[str]) -> abc.Iterator[Notice]:
        """Each notice once a run."""
        new = [text for text in dict.fromkeys(notices) if text not in self._noticed]
        self._noticed.update(new)
        yield from map(Notice, new)

    def _rounds(self, group: _Group) -> abc.Iterator[SchedulerEvent]:
        """Rounds of a group; a free slot gets the next request, or the batch shrinks."""
        slots = group.slots
        while not self._stopped:
            yield from self._fill(group)
            if not slots.running:
                yield from self._read(wait=True)  # what comes late finds all of it as it is
                if group.over or self._queue.first(group.key) is None:
                    return
                continue
            if len(slots.running) <= len(slots.sequences) // 2:
                slots.shrink()
            tokens = 0
            for sequence, count in slots.round():
                tokens += count
                if sequence.finish_reason is not None:
                    yield sequence.finished()
            yield Progress(tokens, len(slots.running))
            yield from self._read()

    def _fill(self, group: _Group) -> abc.Iterator[Failed]:
        """A request for every free slot; where prompts are prefilled, those of the next ones with them."""
        slots, key = group.slots, group.key
        if self._queue.closed:
            return
        slots.insert_ready()
        group.over = group.over or self._had_its_turn(group)
        if group.over:
            return
        self._make_room(group)
        wanted = len(slots.free)
        while wanted and (request := self._queue.first(key)) is not None:
            if len(slots.added) >= wanted and not slots.prefills_ahead:
                break
            try:
                sequence = Sequence(slots.rows, prepare(slots.rows, request))
            except MpgError as error:
                self._queue.take(key)
                yield _failed(request, "too_long" if isinstance(error, ContextError) else "bad_value", error)
                continue
            if len(slots.added) >= wanted and not is_short(sequence):
                break
            self._queue.take(key)
            slots.added.append(sequence)
        slots.prefill()

    def _make_room(self, group: _Group) -> None:
        """More slots for a group whose requests came late: doubled until those in the queue have one."""
        slots, most = group.slots, self._most(group.key)
        size = len(slots.sequences)
        if not slots.started or size == most:
            return
        wanted = len(slots.running) + len(slots.ready) + self._queue.count(group.key)
        while size < min(wanted, most):
            size *= 2  # every size has its own recordings under --compile
        if size > len(slots.sequences):
            slots.grow(min(size, most))
            slots.insert_ready()

    def _had_its_turn(self, group: _Group) -> bool:
        """Whether requests come late, and a whole batch has begun since those of others began to wait."""
        slots = group.slots
        if self._queue.count(group.key) == len(self._queue):
            group.others_since = None
            return False
        if group.others_since is None:
            group.others_since = slots.started
        return self._queue.late and slots.started - group.others_since >= len(slots.sequences)

    def _most(self, key: GroupKey) -> int:
        """How many requests of a key may run at once."""
        return 1 if key.alone else self._size

    def _recover(self, error: Exception, slots: Slots) -> abc.Iterator[SchedulerEvent]:
        """Put all requests of a group back into the queue: after NaN the running ones, to go one by one;
        without memory with fewer slots.
        """
        running = {own.id: own.prompts.request for own in slots.running}
        requests = running | {own.id: own.prompts.request for own in (*slots.added, *slots.ready)}
        alone: abc.Collection[int | str] = ()
        size = slots.size
        if isinstance(error, NumericsError):
            if size == 1:
                for id_, request in running.items():
                    del requests[id_]
                    yield _failed(request, "numerics", MpgError(error.message))
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
        self._queue.put_back(requests.values(), alone)

    def _blend_rows(self, request: Request, batch: int) -> tuple[BlendRows, list[str]]:
        """The rows of a request's blend, with cached experts, and what the user should know."""
        notices: list[str] = []
        experts = find_experts(
            request.blend, request.adapters, self._loaded, lambda message: None, notices.append, self._cache
        )
        rows = BlendRows(
            self._loaded, self._bank, experts, request.scheme, batch=batch, smaller=self._smaller
        )
        return rows, [*notices, *rows.notices]


@dataclass
class _Group:
    """Requests of one key, running."""

    key: GroupKey
    slots: Slots
    others_since: int | None = None  # sequences that had begun when others began to wait
    over: bool = False  # it takes no more


def _failed(request: Request, code: str, error: MpgError) -> Failed:
    assert request.sequence_id is not None
    return Failed(request.sequence_id, code, error)
