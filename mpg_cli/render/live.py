"""The growing reply on a terminal: finished lines scroll up, below them the line in progress and a status.

Only the last two lines are redrawn, so long replies and small screens work. Text of a model or a persona
reaches rich as `Text` without control characters, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text as Line

from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, Text
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.tally import Tally, progress_words
from mpg_cli.render.wrap import Column

if TYPE_CHECKING:
    from rich.console import RenderableType


REFRESH = 12  # maximum redraws per second
BURST = 4  # redraws without delay after a pause
ECHO = 4  # cells after the status, where the terminal shows ^C: if that wrapped, lines could not be erased


class LiveRenderer:
    """Renders replies on a terminal; restores the terminal at the end, also after an error."""

    def __init__(self, streams: Streams, commentary: Commentary) -> None:
        self._commentary = commentary
        self._console = Console(
            file=streams.stdout,
            force_terminal=True,
            force_interactive=True,
            no_color=not streams.color,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._live: Live | None = None
        self._credit, self._updated = float(BURST), monotonic()  # redraws allowed now
        self._column = Column()
        self._tally: Tally | None = None

    def render(self, events: Iterable[Event]) -> None:
        """Render the events until they end."""
        try:
            for event in events:
                self._draw(event)
        finally:
            self._close()

    def _draw(self, event: Event) -> None:
        match event:
            case Notice():
                drawing = self._live is not None
                self._erase()
                self._commentary.notice(event.message)
                if drawing:
                    self._show()
            case Started():
                self._close()
                self._commentary.begin(event)
                self._tally = Tally(event.spec)
                self._show()
            case Round() if self._tally is not None:
                self._tally.add(event)
            case Text():
                self._above(self._column.add(clean(event.text), self._console.width))
                self._refresh()
            case Finished():
                tally = self._tally
                self._close()
                if tally is not None:
                    self._commentary.end(event, tally)

    def _show(self) -> None:
        """Start drawing below the text with a new `Live`, which cannot be started twice."""
        self._live = Live(
            console=self._console,
            get_renderable=self._lower,
            auto_refresh=False,  # a thread would interfere with our own writes
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        self._console.show_cursor(True)  # a stopped or killed job would leave it hidden

    def _refresh(self) -> None:
        """Redraw the lower lines: at once after a pause, otherwise at most REFRESH times per second."""
        now = monotonic()
        self._credit = min(BURST, self._credit + REFRESH * (now - self._updated))
        self._updated = now
        if self._live is not None and self._credit >= 1:
            self._credit -= 1
            self._live.refresh()

    def _above(self, lines: list[str]) -> None:
        """Print finished lines above the lower lines, which are erased and drawn again."""
        if lines and self._live is not None:
            self._erase()
            self._print(lines)
            self._show()
        else:
            self._print(lines)

    def _erase(self) -> None:
        """Stop drawing and erase the lower lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _close(self) -> None:
        """Remove the status; the line in progress becomes part of the text."""
        self._erase()
        if self._tally is not None:
            self._tally = None
            rest = self._column.end()
            self._print([rest] if rest else [])

    def _lower(self) -> RenderableType:
        """The lower lines: the line in progress and the status."""
        status = progress_words(self._tally) if self._tally is not None else ""
        status_line = Line(clean(status).replace("\n", " "), style="dim", no_wrap=True)
        status_line.truncate(max(1, self._console.width - ECHO), overflow="ellipsis")
        rows = [Line(self._column.partial, no_wrap=True, overflow="crop"), status_line]
        return Group(*(rows if self._column.partial else rows[1:]))

    def _print(self, lines: list[str]) -> None:
        if lines:
            text = Line("\n".join(lines), no_wrap=True, overflow="ignore")
            self._console.print(text, soft_wrap=True)
