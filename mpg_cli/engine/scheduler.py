"""Continuous batching: many requests on one model, each sequence with its own accepted length.

Requests with the same blend, scheme and sampling form a group and share passes; the slot of a finished
sequence goes to the next request of the group. Groups run in turn, in the order of their oldest request.
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

LOOK_AHEAD = 8  # queued requests a slot, so that groups find enough of theirs

SchedulerEvent = Notice | Sized | Progress | Finished | Failed


class Scheduler:
    """Runs requests on one loaded model.

    Each request has its own seed and sequence id. `smaller` is the drafting model, where the scheme names
    one; `cache` holds loaded experts (default: a new one for `max_experts`).
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
        self._size = batch_size or 0  # 0: chosen for the first group
        self._queue = Queue()
        self._stopped = False
        self._noticed: set[str] = set()  # a blend that returns has the same notices

    def stop(self, *, now: bool = False) -> None:
        """Begin no further request; `now` also abandons the running ones."""
        self._queue.closed = True
        self._stopped = now

    def run(self, requests: Source) -> abc.Iterator[SchedulerEvent]:
        """The events of all requests, in any order. Memory does not grow with their number.

        None from `requests` means that no request is available yet; the queue is processed meanwhile.
        """
        self._queue.source = requests
        yield from self._read(wait=True)
        while self._queue and not self._queue.closed:
            yield from self._run_group(self._queue.oldest)
            yield from self._read(wait=True)

    def check(self, request: Request) -> None:
        """Raise MpgError if the model cannot take the prompt of the request; nothing is generated."""
        rows, _ = self._blend_rows(request, 1)
        try:
            prepare(rows, request)
        finally:
            rows.release()

    def _read(self, wait: bool = False) -> abc.Iterator[Failed]:
        yield from self._queue.read(LOOK_AHEAD * max(1, self._size), wait=wait)

    # -- a group -----------------------------------------------------------------------------------

    def _run_group(self, key: GroupKey) -> abc.Iterator[SchedulerEvent]:
        """Run requests with this key until none is queued or another group is due."""
        first = self._queue.first(key)
        if first is None:  # closed by a signal
            return
        try:
            if not self._size:
                yield from self._choose_size(first)
            rows, notices = self._blend_rows(first, min(self._most(key), self._queue.count(key) or 1))
        except MpgError as error:
            # Only this blend cannot be loaded; other groups may run.
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
        """Choose the batch size by memory, with the rows of the first request."""
        rows, notices = self._blend_rows(first, 1)
        try:
            self._size, reason = fitting_batch(rows)
        finally:
            rows.release()
        yield from self._new(notices)
        yield Sized(self._size, reason)
        yield from self._read()

    def _new(self, notices: abc.Sequence[str]) -> abc.Iterator[Notice]:
        """Notices that this run has not shown yet."""
        new = [text for text in dict.fromkeys(notices) if text not in self._noticed]
        self._noticed.update(new)
        yield from map(Notice, new)

    def _rounds(self, group: _Group) -> abc.Iterator[SchedulerEvent]:
        """Run the rounds of a group: free slots are refilled, or the batch shrinks."""
        slots = group.slots
        while not self._stopped:
            yield from self._fill(group)
            if not slots.running:
                yield from self._read(wait=True)  # a late request finds the group as it is
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
        """Fill every free slot with a request, and prefill further short prompts in the same pass."""
        slots, key = group.slots, group.key
        if self._queue.closed:
            return
        slots.insert_ready()
        group.over = group.over or self._other_group_due(group)
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
        """Add slots to a group whose requests arrived late: double them until the queue fits."""
        slots, most = group.slots, self._most(group.key)
        size = len(slots.sequences)
        if not slots.started or size == most:
            return
        wanted = len(slots.running) + len(slots.ready) + self._queue.count(group.key)
        while size < min(wanted, most):
            size *= 2  # --compile records passes for every size
        if size > len(slots.sequences):
            slots.grow(min(size, most))
            slots.insert_ready()

    def _other_group_due(self, group: _Group) -> bool:
        """Whether the source is idle and a whole batch has begun since requests of another group wait."""
        slots = group.slots
        if self._queue.count(group.key) == len(self._queue):
            group.others_since = None
            return False
        if group.others_since is None:
            group.others_since = slots.started
        return self._queue.source_idle and slots.started - group.others_since >= len(slots.sequences)

    def _most(self, key: GroupKey) -> int:
        """How many requests with this key may run at once."""
        return 1 if key.alone else self._size

    def _recover(self, error: Exception, slots: Slots) -> abc.Iterator[SchedulerEvent]:
        """Put the requests of a group back into the queue after an error: after NaN to run one by one, after
        running out of memory to run in fewer slots.
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
                hint="choose a smaller model, --dtype or --max-tokens, or shorter prompts",
            ) from None
        else:
            self._size = max(1, size // 2)
            yield Sized(self._size, "memory ran out")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        self._queue.put_back(requests.values(), alone)

    def _blend_rows(self, request: Request, batch: int) -> tuple[BlendRows, list[str]]:
        """The rows of the blend of a request, with cached experts, and messages for the user."""
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
    """Running requests with one key."""

    key: GroupKey
    slots: Slots
    others_since: int | None = None  # sequences begun when requests of another group arrived
    over: bool = False  # takes no further requests


def _failed(request: Request, code: str, error: MpgError) -> Failed:
    assert request.sequence_id is not None
    return Failed(request.sequence_id, code, error)
