"""The output of `mpg explain`: complete replies with their explanations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TextIO

from mpg_cli.engine.events import Event, Finished, Notice, Round, Started
from mpg_cli.io.terminal import Status, Streams
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.explain_html import write_page
from mpg_cli.render.jsonl import write_line
from mpg_cli.render.tally import Tally, progress_words

Format = Literal["auto", "terminal", "json"]
ChosenFormat = Literal["terminal", "json"]


def choose_format(wanted: Format, streams: Streams) -> ChosenFormat:
    """Resolve `auto` to terminal on a terminal, else json."""
    if wanted == "auto":
        return "terminal" if streams.stdout_tty else "json"
    return wanted


class ExplainRenderer:
    """Writes each reply to stdout, coloured or as JSON, and all of them to an HTML page at the end."""

    def __init__(
        self,
        commentary: Commentary,
        format_: ChosenFormat,
        prompt: str,
        page: TextIO | None = None,
    ) -> None:
        self._commentary, self._format = commentary, format_
        self._prompt, self._page = prompt, page
        self._replies: list[Finished] = []

    def render(self, events: Iterable[Event]) -> None:
        """Render the events until they end; after an interruption the page has the finished replies."""
        try:
            self._render(events)
        finally:
            if self._page is not None and self._replies:
                self._page.write(write_page(self._replies, self._prompt))

    def _render(self, events: Iterable[Event]) -> None:
        streams, shown = self._commentary.streams, not self._commentary.quiet
        tally: Tally | None = None
        status: Status | None = None
        try:
            for event in events:
                match event:
                    case Notice():
                        self._commentary.notice(event.message)
                    case Started():
                        self._commentary.begin(event)
                        tally = Tally(event.spec)
                        status = streams.status(progress_words(tally), shown=shown).__enter__()
                    case Round() if tally is not None and status is not None:
                        tally.add(event)
                        status.update(progress_words(tally))
                    case Finished() if tally is not None and status is not None:
                        status.__exit__(None, None, None)
                        status = None
                        self._draw(event)
                        self._commentary.end(event, tally)
        finally:
            if status is not None:
                status.__exit__(None, None, None)

    def _draw(self, reply: Finished) -> None:
        assert reply.explanation is not None
        self._replies.append(reply)
        streams = self._commentary.streams
        if self._format == "json":
            write_line(streams.stdout, explained_record(reply))
        else:
            from mpg_cli.render.explain_terminal import write_explanation

            write_explanation(
                streams.stdout,
                reply.explanation,
                reply.spec.experts,
                tty=streams.stdout_tty,
                color=streams.color,
            )


def explained_record(finished: Finished) -> dict[str, Any]:
    """The record of `mpg generate --format json` with `unit`, `tokens` and `sentences` at the top level."""
    record = finished.record()
    explanation: dict[str, Any] = record.pop("explanation")
    return {**record, **explanation}
