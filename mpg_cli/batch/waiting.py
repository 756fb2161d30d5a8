"""The lines of a batch that wait for a place, and which of them can run together. Torch-free."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import sleep
from typing import NamedTuple

from mpg_cli.batch.events import LineFailed
from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.request import Sampling

POLL = 0.02  # seconds between two looks at a source that has no line yet


class GroupKey(NamedTuple):
    """Lines of one key can share their passes."""

    persona: str | None
    sampling: Sampling
    alone: bool  # runs by itself: the model failed in its company


class Waiting:
    """A queue of lines before a source; a source gives None where no line has come yet."""

    def __init__(self) -> None:
        self.source: Iterator[Line | BadLine | None] = iter(())
        self.closed = False  # no line may begin any more
        self.late = False  # the source had no line when it was last asked
        self._lines: deque[Line] = deque()
        self.alone: set[str] = set()  # ids of lines that run by themselves

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def oldest(self) -> Line:
        """The line that has waited longest."""
        return self._lines[0]

    def read(self, most: int, *, wait: bool = False) -> Iterator[LineFailed]:
        """Take what is there until so many lines wait; wrong ones fail at once.

        `wait`: until there is one at least, and no more are coming.
        """
        quiet = False
        while len(self._lines) < most and not self.closed:
            try:
                line = next(self.source)
            except StopIteration:
                self.late = False
                return
            self.late = line is None
            if line is None:
                if not wait or (quiet and self._lines):
                    return
                quiet = True
                sleep(POLL)
            elif isinstance(line, BadLine):
                yield LineFailed(line, line.code, line.message)
            else:
                quiet = False
                self._lines.append(line)

    def key(self, line: Line) -> GroupKey:
        """What lines have to share with this one to run beside it."""
        sampling = replace(line.sampling, max_tokens=None, stop=())
        return GroupKey(line.persona, sampling, line.id in self.alone)

    def count(self, key: GroupKey) -> int:
        """How many lines of a key wait."""
        return sum(self.key(line) == key for line in self._lines)

    def first(self, key: GroupKey) -> Line | None:
        """The oldest line of a key; None if there is none, or none may begin."""
        if self.closed:
            return None
        return next((line for line in self._lines if self.key(line) == key), None)

    def take(self, line: Line) -> None:
        """The line does not wait any more."""
        self._lines.remove(line)

    def give_back(self, lines: Iterable[Line], alone: Iterable[str] = ()) -> None:
        """Lines wait again, before all others; those of the ids `alone` are to run by themselves."""
        self.alone |= set(alone)
        self._lines.extendleft(reversed(list(lines)))
