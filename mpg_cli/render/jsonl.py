"""Replies or events as JSON lines, ASCII only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, TextIO

from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, as_json
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.tally import Tally


class JsonRenderer:
    """`--format json`: one object per finished reply; notices go to stderr."""

    def __init__(self, out: TextIO, commentary: Commentary) -> None:
        self._out = out
        self._commentary = commentary

    def render(self, events: Iterable[Event]) -> None:
        """Write the replies as they finish."""
        tally: Tally | None = None
        for event in events:
            match event:
                case Notice():
                    self._commentary.notice(event.message)
                case Started():
                    tally = Tally(event.spec)
                case Round() if tally is not None:
                    tally.add(event)
                case Finished() if tally is not None:
                    write_line(self._out, event.record())
                    self._commentary.end(event, tally)
                    tally = None


class EventsRenderer:
    """`--format events`: one object per event."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def render(self, events: Iterable[Event]) -> None:
        """Write every event."""
        for event in events:
            write_line(self._out, as_json(event))


def write_line(out: TextIO, record: dict[str, Any]) -> None:
    """Write one object on a line and flush. Infinity and NaN, which JSON lacks, become null."""
    out.write(json.dumps(finite(record), ensure_ascii=True, allow_nan=False) + "\n")
    out.flush()


def finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
