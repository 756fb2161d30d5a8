"""Replies as raw text to a pipe, a file or a simple terminal, flushed after each event."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TextIO

from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, Text
from mpg_cli.io.terminal import clean
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.tally import Tally


class PlainRenderer:
    """Writes the text of each reply and a newline; with `tty` control characters are removed."""

    def __init__(self, out: TextIO, commentary: Commentary, *, tty: bool = False) -> None:
        self._out = out
        self._tty = tty
        self._commentary = commentary
        self._wrote = False

    def render(self, events: Iterable[Event]) -> None:
        """Write the events until they end."""
        tally: Tally | None = None
        try:
            for event in events:
                match event:
                    case Notice():
                        self._commentary.notice(event.message)
                    case Started():
                        self._commentary.begin(event)
                        tally = Tally(event.spec)
                    case Round() if tally is not None:
                        tally.add(event)
                    case Text():
                        self._write(clean(event.text) if self._tty else event.text)
                    case Finished() if tally is not None:
                        self._write("\n")
                        self._commentary.end(event, tally)
                        tally = None
        finally:
            if tally is not None and self._wrote:  # interrupted: end the line
                with contextlib.suppress(OSError):
                    self._write("\n")

    def _write(self, text: str) -> None:
        self._wrote = True
        self._out.write(text)
        self._out.flush()
