"""Renderers of engine events: live, plain, json and events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from mpg_cli.errors import UsageError

if TYPE_CHECKING:  # every command imports this package, few render replies
    from mpg_cli.engine.events import Event
    from mpg_cli.io.terminal import Streams
    from mpg_cli.render.commentary import Commentary

Format = Literal["auto", "live", "plain", "json", "events"]
ChosenFormat = Literal["live", "plain", "json", "events"]


class Renderer(Protocol):
    """Renders events until the iterator ends."""

    def render(self, events: Iterable[Event]) -> None: ...


def choose_format(wanted: Format, streams: Streams, *, to_file: bool) -> ChosenFormat:
    """Resolve `auto` to live on a terminal, else plain. Raises UsageError if live is not possible."""
    able = streams.stdout_tty and streams.movable and not to_file
    if wanted == "live" and not able:
        reason = "--output is a file" if to_file else "stdout is not a terminal with cursor movement"
        raise UsageError(f"--format live is not possible: {reason}", hint="use --format plain")
    if wanted == "auto":
        return "live" if able else "plain"
    return wanted


def make_renderer(
    chosen: ChosenFormat, streams: Streams, commentary: Commentary, *, file: TextIO | None = None
) -> Renderer:
    """The renderer of a format, writing to stdout or to `file`."""
    out = file or streams.stdout
    if chosen == "live":
        from mpg_cli.render.live import LiveRenderer  # imports rich

        return LiveRenderer(streams, commentary)
    if chosen == "json":
        from mpg_cli.render.jsonl import JsonRenderer

        return JsonRenderer(out, commentary)
    if chosen == "events":
        from mpg_cli.render.jsonl import EventsRenderer

        return EventsRenderer(out)
    from mpg_cli.render.plain import PlainRenderer

    return PlainRenderer(out, commentary, tty=streams.stdout_tty and file is None)
