"""The scheduler's queue: requests that wait for a slot, by what they can share a pass with. Torch-free."""

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

POLL = 0.02  # seconds between two looks at a source that has no request yet

Source = Iterator[Request | Failed | None]  # None: no request has come yet; Failed is passed on


class GroupKey(NamedTuple):
    """Requests of one key can share their passes."""

    blend: Blend | None
    adapters: tuple[tuple[AdapterPlace, float], ...]
    scheme: Scheme
    sampling: Sampling  # limit and stop strings left out: they are each sequence's own
    alone: bool  # runs by itself: a pass that it shared failed


class Queue:
    """Requests before a source that may be slow."""

    def __init__(self) -> None:
        self.source: Source = iter(())
        self.closed = False  # no request may begin any more
        self.late = False  # the source had no request when it was last asked
        self.alone: set[int | str | None] = set()  # ids of requests that run by themselves
        self._groups: dict[GroupKey, deque[tuple[int, Request]]] = {}  # with their turns
        self._next_turn, self._first_turn = 0, 0

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def oldest(self) -> GroupKey:
        """The key of the request that has waited longest."""
        return min(self._groups, key=lambda key: self._groups[key][0][0])

    def read(self, most: int, *, wait: bool = False) -> Iterator[Failed]:
        """Take from the source until `most` requests wait, or it has none; its failures are passed on.

        `wait`: as long as the queue is empty, until a request comes or the source ends.
        """
        while len(self) < most and not self.closed:
            try:
                item = next(self.source)
            except StopIteration:
                self.late = False
                return
            self.late = item is None
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
        """How many requests of a key wait."""
        return len(self._groups.get(key, ()))

    def first(self, key: GroupKey) -> Request | None:
        """The oldest request of a key; None if there is none, or none may begin."""
        return None if self.closed or key not in self._groups else self._groups[key][0][1]

    def take(self, key: GroupKey) -> Request:
        """Remove the oldest request of a key."""
        _, request = self._groups[key].popleft()
        if not self._groups[key]:
            del self._groups[key]
        return request

    def put_back(self, requests: Iterable[Request], alone: Collection[int | str | None] = ()) -> None:
        """Queue requests before all others; those of the ids `alone` will run by themselves."""
        self.alone |= set(alone)
        for request in reversed(list(requests)):
            self._first_turn -= 1
            self._groups.setdefault(self._key(request), deque()).appendleft((self._first_turn, request))

    def _key(self, request: Request) -> GroupKey:
        sampling = replace(request.sampling, max_tokens=None, stop=())
        alone = request.sequence_id in self.alone
        return GroupKey(request.blend, request.adapters, request.scheme, sampling, alone)
