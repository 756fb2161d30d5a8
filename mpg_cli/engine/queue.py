"""The scheduler's queue: requests waiting for a slot, grouped by what can share a pass. Torch-free."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from time import sleep
from typing import NamedTuple

from mpg_cli.engine.events import Failed
from mpg_cli.engine.request import Request
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.registry import Blend
from mpg_cli.sampling.params import Sampling, Scheme

POLL = 0.02  # seconds between two polls of a source that has no request yet

Source = Iterator[Request | Failed | None]  # None: no request available yet; Failed is passed on


class GroupKey(NamedTuple):
    """Requests with equal keys can share passes."""

    blend: Blend | None
    adapters: tuple[tuple[AdapterPlace, float], ...]
    scheme: Scheme
    sampling: Sampling  # without limit and stop strings, which may differ between sequences
    alone: bool  # shares no pass, because a shared one failed


class Queue:
    """Requests read from a source that may be slow, such as a pipe."""

    def __init__(self) -> None:
        self.source: Source = iter(())
        self.closed = False  # no further request may begin
        self.source_idle = False  # the source had no request at the last read
        self.alone: set[int | str | None] = set()  # ids of requests that share no pass
        self._groups: dict[GroupKey, deque[tuple[int, Request]]] = {}  # with their order of arrival
        self._next_turn, self._first_turn = 0, 0

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def oldest(self) -> GroupKey:
        """The key of the request that has waited longest."""
        return min(self._groups, key=lambda key: self._groups[key][0][0])

    def read(self, most: int, *, wait: bool = False) -> Iterator[Failed]:
        """Read the source until `most` requests are queued or none is available; yields its failures.

        With `wait` an empty queue blocks until a request arrives or the source ends.
        """
        while len(self) < most and not self.closed:
            try:
                item = next(self.source)
            except StopIteration:
                self.source_idle = False
                return
            self.source_idle = item is None
            if isinstance(item, Failed):
                yield item
            elif item is not None:
                self._groups.setdefault(self._key(item), deque()).append((self._next_turn, item))
                self._next_turn += 1
            elif wait and not self._groups:
                sleep(POLL)
            else:
                return

    def count(self, key: GroupKey) -> int:
        """Number of queued requests with this key."""
        return len(self._groups.get(key, ()))

    def first(self, key: GroupKey) -> Request | None:
        """The oldest request with this key; None if there is none, or the queue is closed."""
        return None if self.closed or key not in self._groups else self._groups[key][0][1]

    def take(self, key: GroupKey) -> Request:
        """Remove and return the oldest request with this key."""
        _, request = self._groups[key].popleft()
        if not self._groups[key]:
            del self._groups[key]
        return request

    def put_back(self, requests: Iterable[Request], alone: Collection[int | str | None] = ()) -> None:
        """Queue requests before all others; those with ids in `alone` will share no pass."""
        self.alone |= set(alone)
        for request in reversed(list(requests)):
            self._first_turn -= 1
            self._groups.setdefault(self._key(request), deque()).appendleft((self._first_turn, request))

    def _key(self, request: Request) -> GroupKey:
        sampling = replace(request.sampling, max_tokens=None, stop=())
        alone = request.sequence_id in self.alone
        return GroupKey(request.blend, request.adapters, request.scheme, sampling, alone)
