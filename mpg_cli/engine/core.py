"""What an engine does in a step: it gives slots to waiting sequences, reads a block of their prompts and runs
one round of all sequences whose prompts are read. Every event goes to the request that it belongs to.
"""

from __future__ import annotations

import secrets
from collections import abc, deque
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.blends import Blends
from mpg_cli.engine.draft_policy import DraftPolicy
from mpg_cli.engine.events import EngineEvent, Failed, FinishReason, Notice, Progress, Sized, Started, Text
from mpg_cli.engine.memory import fitting_slots, need_of, room, with_adapters
from mpg_cli.engine.request import Request
from mpg_cli.engine.scheduler import Need, admitted
from mpg_cli.engine.sequence import Prompts, Sequence, law_of, prepare, sequence_ids
from mpg_cli.engine.slots import Slots
from mpg_cli.errors import ContextError, ModelError, MpgError, brief, is_out_of_memory
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.invariance import invariance_of

WHOLE_BATCH = 32  # sequences that are expected to run together while the number of slots is open
WHOLE_BLOCK = 4  # blocks of prompts read at once while no sequence waits for its next round


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


@dataclass(eq=False)
class _Begun:
    """A sequence with the request that it belongs to."""

    handle: Handle
    sequence: Sequence
    started: bool = False

    @cached_property
    def need(self) -> Need:
        return need_of(self.sequence)


class EngineCore:
    """The requests of an engine, and its `size` slots (None: by memory).

    Any thread may submit, and read `live` and the properties; only one at a time may call the rest.
    """

    def __init__(self, loaded: LoadedModel, blends: Blends, size: int | None) -> None:
        self.prompt_tokens = 0  # of all rows of all sequences so far
        self._loaded, self._blends = loaded, blends
        self._size = size
        self._slots: Slots | None = None
        # Whether texts of the exact rule do not depend on chunk sizes, at least up to near-ties.
        follows = loaded.dtype.value == torch.float32 or invariance_of(loaded.model).text
        self._policy = DraftPolicy(shared=follows)
        self.live: set[Handle] = set()  # all that have samples without a final event, in one of:
        self._inbox: deque[Handle] = deque()  # submitted since the last step
        self._queue: deque[Handle] = deque()
        self._waiting: deque[_Begun] = deque()  # sequences of the first requests of the queue
        self._running: dict[int, _Begun] = {}  # by slot
        self._held_back: _Begun | None = None  # the first in line, and those that overtook it
        self._overtook: list[_Begun] = []
        self._crowded = False  # the experts of the next request do not fit beside those that run
        self._read_before = 0  # prompt tokens read in slots that are gone

    def submit(self, request: Request, events: deque[Emitted]) -> Handle:
        """Queue a request, whose events later steps append to `events`."""
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        handle = Handle(request, seed, request.samples, events)
        self.live.add(handle)
        self._inbox.append(handle)
        return handle

    def drafted(self, rows: BlendRows, prompts: Prompts) -> BlendRows:
        """The rows without their drafter where that was left to us and would make this sequence slower."""
        beside = min(self._size or WHOLE_BATCH, max(prompts.request.samples, self.left))
        worth = not rows.automatic or self._policy.worth(
            rows, law_of(self._loaded, prompts.request), max(1, beside)
        )
        return rows if worth else rows.without_drafter()

    @property
    def most(self) -> int:
        """Sequences that are prepared ahead."""
        return len(self._slots.sequences) if self._slots is not None else self._size or 1

    @property
    def _full(self) -> bool:
        """Whether no slot is free."""
        return self._slots is not None and not self._slots.free

    @property
    def left(self) -> int:
        """Replies that have not ended."""
        return sum(handle.left for handle in tuple(self.live))

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far, copied ones not counted."""
        return self._read_before + (0 if self._slots is None else self._slots.read_tokens)

    def close(self) -> None:
        """Free the memory of rows and experts, and forget all requests."""
        self._drop_rows()
        self._blends.close()
        for requests in (self.live, self._inbox, self._queue, self._waiting, self._running):
            requests.clear()

    def step(self, events: deque[Emitted]) -> None:
        """One step; events of no request go to `events`."""
        try:
            while self._inbox:
                self._queue.append(self._inbox.popleft())
            self._give(self._cancelled(), events)
            self._give(self._fill(), events)
            slots = self._slots
            if slots is not None and self._running:
                waiting = [own.sequence for own in self._waiting]
                slots.read(slots.block * (1 if slots.decoding else WHOLE_BLOCK), waiting)
                self._give(self._round(slots), events)
        except (MemoryError, RuntimeError, OSError) as error:
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
            self.live.discard(handle)

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
        places = admitted(needs, running, free, held + room(self._loaded.device.value), beside)
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

    def _begin_next(self) -> abc.Iterator[Emitted]:
        """Make the sequences of the first requests of the queue.

        Where memory runs out for one that has no slot yet, it waits until one is free.
        """
        while self._queue and len(self._waiting) < self.most and not (self._full and self._crowded):
            handle = self._queue[0]
            try:
                yield from self._begin(handle)
            except Exception as error:
                if self._full and is_out_of_memory(error):
                    self._crowded = True
                    return
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
        except (MemoryError, RuntimeError, OSError) as error:
            if is_out_of_memory(error) and len(self._running) <= 1 and not self._full:
                return Failed(first, "no_memory", _no_memory("the experts"))
            if is_out_of_memory(error) or not isinstance(error, OSError):
                raise
            said, hint = "cannot read the files of the experts", "check that they exist and are readable"
            return Failed(first, "bad_persona", ModelError(f"{said}: {brief(error)}", hint=hint))
        try:
            prompts = prepare(rows, request)
            return self.drafted(rows, prompts), prompts
        except MpgError as error:
            return Failed(first, "too_long" if isinstance(error, ContextError) else "bad_value", error)

    def _make_slots(self) -> abc.Iterator[Emitted]:
        """Choose the number of slots by the memory that the first sequence takes, if it is not given."""
        if self._size is None:
            self._size, reason = fitting_slots(self._waiting[0].need, self._loaded.device.value)
            yield Emitted(None, Sized(self._size, reason))
        self._slots = Slots(self._loaded, self._size, self._policy)
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
        self._crowded = False
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


def _no_memory(what: str) -> ModelError:
    return ModelError(
        f"not enough memory for {what}",
        hint="choose a smaller model, --dtype or --max-tokens, or shorter prompts",
    )
