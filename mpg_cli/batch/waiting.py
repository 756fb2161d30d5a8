"""The lines of a batch that wait for a place, by what they can run beside. Torch-free."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from time import sleep
from typing import NamedTuple

from mpg_cli.batch.events import LineFailed
from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.sampling.params import Sampling

POLL = 0.02  # seconds between two looks at a source that has no line yet


class GroupKey(NamedTuple):
    """Lines of one key can share their passes."""

    persona: str | None
    sampling: Sampling
    alone: bool  # runs by itself: the model failed in its company


class Waiting:
    """Lines before a source, which gives None where no line has come yet."""

    def __init__(self) -> None:
        self.source: Iterator[Line | BadLine | None] = iter(())
        self.closed = False  # no line may begin any more
        self.late = False  # the source had no line when it was last asked
        self.alone: set[str] = set()  # ids of lines that run by themselves
        self._groups: dict[GroupKey, deque[tuple[int, Line]]] = {}  # with their turns
        self._next_turn, self._first_turn = 0, 0

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def oldest(self) -> GroupKey:
        """The key of the line that has waited longest."""
        return min(self._groups, key=lambda key: self._groups[key][0][0])

    def read(self, most: int, *, wait: bool = False) -> Iterator[LineFailed]:
        """Take what is there until so many lines wait; wrong ones fail at once.

        `wait`: while none waits, until one comes or the source ends.
        """
        while len(self) < most and not self.closed:
            try:
                line = next(self.source)
            except StopIteration:
                self.late = False
                return
            self.late = line is None
            if isinstance(line, BadLine):
                yield LineFailed(line, line.code, line.message)
            elif line is not None:
                self._groups.setdefault(self._key(line), deque()).append((self._next_turn, line))
                self._next_turn += 1
            elif wait and not self._groups:
                sleep(POLL)
            else:
                return

    def count(self, key: GroupKey) -> int:
        """How many lines of a key wait."""
        return len(self._groups.get(key, ()))

    def first(self, key: GroupKey) -> Line | None:
        """The oldest line of a key; None if there is none, or none may begin."""
        return None if self.closed or key not in self._groups else self._groups[key][0][1]

    def take(self, key: GroupKey) -> Line:
        """The oldest line of a key, which does not wait any more."""
        _, line = self._groups[key].popleft()
        if not self._groups[key]:
            del self._groups[key]
        return line

    def give_back(self, lines: Iterable[Line], alone: Collection[str] = ()) -> None:
        """Lines wait again, before all others; those of the ids `alone` are to run by themselves."""
        self.alone |= set(alone)
        for line in reversed(list(lines)):
            self._first_turn -= 1
            self._groups.setdefault(self._key(line), deque()).appendleft((self._first_turn, line))

    def _key(self, line: Line) -> GroupKey:
        sampling = replace(line.sampling, max_tokens=None, stop=())
        return GroupKey(line.persona, sampling, line.id in self.alone)
