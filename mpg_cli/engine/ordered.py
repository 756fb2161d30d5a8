"""Events of replies that run together, put in the order of the replies. Torch-free."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from mpg_cli.engine.events import Event, Finished, Notice


class Ordered:
    """Passes the events of the first reply on, and holds those of the others back until it has ended.

    A reply is a request and the number of its sample.
    """

    def __init__(self, replies: Sequence[tuple[Hashable, int]]) -> None:
        self._order = list(replies)
        self._held: dict[tuple[Hashable, int], list[Event]] = {reply: [] for reply in self._order}
        self._numbers: dict[tuple[Hashable, int | str], int] = {}  # of the samples of a request, by sequence

    def add(self, request: Hashable | None, event: Event) -> Iterator[Event]:
        """The events that can be passed on after this one."""
        if isinstance(event, Notice) or request is None:
            yield event
            return
        key = request, event.sequence
        if key not in self._numbers:
            self._numbers[key] = sum(own == request for own, _ in self._numbers)
        reply = request, self._numbers[key]
        if not self._order or reply not in self._held:
            return
        self._held[reply].append(event)
        yield from self._passed_on()

    def ended(self, requests: Iterable[Hashable]) -> Iterator[Event]:
        """The events that can be passed on once these requests have no further ones."""
        over = set(requests)
        while self._order and self._order[0][0] in over:
            yield from self._held.pop(self._order.pop(0))
        yield from self._passed_on()

    def _passed_on(self) -> Iterator[Event]:
        while self._order:
            held = self._held[self._order[0]]
            ended = any(isinstance(event, Finished) for event in held)
            yield from held
            held.clear()
            if not ended:
                return
            self._held.pop(self._order.pop(0))
