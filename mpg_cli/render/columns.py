"""The output of `mpg compare`: replies in columns, or stacked on a narrow terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, TextIO

from rich.cells import cell_len

from mpg_cli.engine.events import Event, Finished, Notice
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.jsonl import write_line
from mpg_cli.render.tally import SEPARATOR, summary_words
from mpg_cli.render.wrap import wrap

Layout = Literal["columns", "plain", "json"]

MIN_COLUMN = 26  # cells
GAP = " │ "
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[22m"


def choose_layout(wanted: Literal["auto", "columns", "plain", "json"], streams: Streams) -> Layout:
    """Resolve `auto` to columns on a terminal, else plain."""
    if wanted == "auto":
        return "columns" if streams.stdout_tty else "plain"
    return wanted


class ColumnsRenderer:
    """Renders the replies of several blends: json and plain at once, columns on exit from the context.

    An interrupted run shows the columns of the finished replies.
    """

    def __init__(self, commentary: Commentary, layout: Layout, samples: int) -> None:
        self._commentary, self._layout, self._samples = commentary, layout, samples
        self._replies: list[Finished] = []

    def show(self, event: Event) -> None:
        """Render an event; the replies come blend by blend."""
        out = self._commentary.streams.stdout
        match event:
            case Notice():
                self._commentary.notice(event.message)
            case Finished():
                if self._layout == "json":
                    write_line(out, event.record())
                elif self._layout == "plain":
                    write_block(out, event, sample=self._samples > 1)
                else:
                    self._replies.append(event)

    def __enter__(self) -> ColumnsRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the columns, one band per sample."""
        streams = self._commentary.streams
        encoding = (getattr(streams.stdout, "encoding", None) or "").lower().replace("-", "")
        for sequence in dict.fromkeys(reply.sequence for reply in self._replies):
            write_columns(
                streams.stdout,
                [reply for reply in self._replies if reply.sequence == sequence],
                shutil.get_terminal_size((100, 24)).columns,
                color=streams.stdout_tty and streams.color,
                ascii_=encoding != "utf8",
            )


def write_columns(out: TextIO, replies: Sequence[Finished], width: int, *, color: bool, ascii_: bool) -> None:
    """Write the replies of one sample in columns over `width` cells, or stacked if that is too narrow."""
    gap = GAP.replace("│", "|") if ascii_ else GAP
    each = (width - len(gap) * (len(replies) - 1)) // len(replies)
    if each < MIN_COLUMN:
        for reply in replies:
            lines = [(BOLD, line) for line in wrap(clean(reply.spec.persona), width)]
            lines += [("", line) for line in _wrapped(reply.text, width)]
            lines += [(DIM, line) for line in _statistics(summary_words(reply), width)]
            out.write("".join(_styled(style, line, color) + "\n" for style, line in lines) + "\n")
        out.flush()
        return
    bands = (
        (BOLD, [wrap(clean(reply.spec.persona), each) for reply in replies]),
        ("", [_wrapped(reply.text, each) for reply in replies]),
        (DIM, [_statistics(summary_words(reply), each) for reply in replies]),
    )
    for number, (style, cells) in enumerate(bands):
        if number:
            out.write(gap.join([" " * each] * len(replies)).rstrip() + "\n")
        for row in range(max(map(len, cells))):
            parts = [column[row] if row < len(column) else "" for column in cells]
            filled = [_styled(style, part, color) + " " * (each - cell_len(part)) for part in parts]
            out.write(gap.join(filled).rstrip() + "\n")
    out.write("\n")
    out.flush()


def write_block(out: TextIO, reply: Finished, *, sample: bool) -> None:
    """Write one reply for a pipe: a header with the persona and statistics, the raw text, an empty line."""
    of_sample = f" [{reply.sequence}]" if sample else ""
    out.write(f"== {reply.spec.persona}{of_sample}{SEPARATOR}{summary_words(reply)}\n{reply.text}\n\n")
    out.flush()


def _wrapped(text: str, width: int) -> list[str]:
    return [part.rstrip(" ") for line in clean(text).expandtabs().split("\n") for part in wrap(line, width)]


def _statistics(words: str, width: int) -> list[str]:
    """The parts of the statistics, filled into lines."""
    lines: list[str] = []
    for part in words.split(SEPARATOR):
        if lines and cell_len(lines[-1] + SEPARATOR + part) <= width:
            lines[-1] += SEPARATOR + part
        else:
            lines += wrap(part, width)
    return lines


def _styled(style: str, text: str, color: bool) -> str:
    return f"{style}{text}{PLAIN}" if style and color and text else text
