"""Lines through the engine: a line becomes a request, an event of the engine becomes one of the line.

Torch loads with the engine, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.engine.events import Failed, Finished, Notice, Progress, Sized
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError
from mpg_cli.personas.registry import Blend

if TYPE_CHECKING:
    from mpg_cli.engine.engine import Engine


@dataclass(frozen=True)
class LineDone:
    """A line was answered."""

    line: Line
    finished: Finished


@dataclass(frozen=True)
class LineFailed:
    """A line could not be answered."""

    line: Line | BadLine
    code: str
    message: str


BatchEvent = Notice | Sized | LineDone | LineFailed | Progress


class LineEngine:
    """Answers lines with an engine.

    `defaults` has the seed; `blends` resolves a line's persona expression (None: the command's own blend).
    """

    def __init__(
        self, engine: Engine, defaults: Request, blends: Callable[[str | None], Blend | None]
    ) -> None:
        self._engine, self._defaults, self._blends = engine, defaults, blends
        self._lines: dict[int | str, Line | BadLine] = {}  # submitted and not yet answered

    def stop(self, *, now: bool = False) -> None:
        """Start no further line; `now` cancels the running ones as well."""
        self._engine.stop(now=now)

    def run(self, lines: Iterator[Line | BadLine | None]) -> Iterator[BatchEvent]:
        """The events of all lines, in order of completion. None in `lines`: no line is available yet."""
        for event in self._engine.run(self._requests(lines)):
            match event:
                case Finished():
                    line = self._lines.pop(event.sequence)
                    assert isinstance(line, Line)
                    yield LineDone(line, event)
                case Failed():
                    line = self._lines.pop(event.sequence)
                    if isinstance(line, Line):
                        event.error.rename(line.names)
                    yield LineFailed(line, event.code, event.error.text)
                case Notice() | Sized() | Progress():
                    yield event

    def check(self, line: Line) -> None:
        """Raise MpgError if the prompt of the line does not fit the model (for a check before any work)."""
        try:
            self._engine.check(self._request(line))
        except MpgError as error:
            error.rename(line.names)
            raise

    def _requests(self, lines: Iterator[Line | BadLine | None]) -> Iterator[Request | Failed | None]:
        for line in lines:
            if line is not None:
                self._lines[line.id] = line
            if isinstance(line, BadLine):
                yield Failed(line.id, line.code, MpgError(line.message))
            else:
                yield None if line is None else self._request(line)

    def _request(self, line: Line) -> Request:
        return replace(
            self._defaults,
            prompting=line.prompting,
            sampling=line.sampling,
            given_by={**self._defaults.given_by, **dict.fromkeys(line.sets, "line")},
            blend=self._blends(line.persona),
            adapters=self._defaults.adapters if line.persona is None else (),
            seed=self._defaults.seed if line.seed is None else line.seed,
            sequence_id=line.id,
        )
