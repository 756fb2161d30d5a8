"""Events of replies that run together, put in the order of the replies. Torch-free."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeAlias

from mpg_cli.engine.events import EngineEvent, Event, Failed, Finished, Notice, Progress, Sized

Reply: TypeAlias = tuple[Hashable, int | str]  # a request, and the id of a sequence of it


class Ordered:
    """Passes the events of the first reply on, and holds those of the others back until it has ended."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._order = list(replies)
        self._held: dict[Reply, list[Event | Failed]] = {reply: [] for reply in self._order}

    def add(self, request: Hashable | None, event: EngineEvent) -> Iterator[Event | Failed]:
        """The events that can be passed on after this one; notices always can."""
        if isinstance(event, Notice):
            yield event
        elif not isinstance(event, Sized | Progress):
            self._held[request, event.sequence].append(event)
            yield from self._passed_on()

    def ended(self, requests: Iterable[Hashable]) -> Iterator[Event | Failed]:
        """The events that can be passed on once these requests have no further ones."""
        over = set(requests)
        while self._order and self._order[0][0] in over:
            yield from self._held.pop(self._order.pop(0))
        yield from self._passed_on()

    def _passed_on(self) -> Iterator[Event | Failed]:
        while self._order:
            held = self._held[self._order[0]]
            ended = any(isinstance(event, Finished | Failed) for event in held)
            yield from held
            held.clear()
            if not ended:
                return
            self._held.pop(self._order.pop(0))
