"""Check the first lines of a batch: a file of another format is refused before any work. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from time import monotonic, sleep

from mpg_cli.batch.lines import InputFormat
from mpg_cli.io.file_kinds import BOM, LOOK, check_rows, check_text_file, is_incomplete

FIRST_LINES_SECONDS = 2.0  # how long to wait for the first lines of a pipe
_POLL = 0.02


def check_first_lines(
    raw: Iterator[bytes | None], name: str, format_: InputFormat = "jsonl"
) -> Iterator[bytes | None]:
    """The same lines, after a check that the first ones are of this format; `name` is the file's.

    Raises UsageError for a file of another format.
    """
    head: list[bytes] = []
    for line in raw:
        if line is None:
            yield None
            continue
        head.append(line)
        if len(head) == LOOK or _is_conclusive(head, format_):
            break
    check_text_file(b"".join(head), name, name)
    if format_ == "jsonl":
        check_rows(head, name, name, hint="--input-format text takes a prompt on every line")
    yield from head
    yield from raw


def await_first_line(
    lines: Iterator[bytes | None], seconds: float = FIRST_LINES_SECONDS
) -> Iterator[bytes | None]:
    """The same lines, after waiting a while for the first: an error in it is raised here."""
    until = monotonic() + seconds
    while (first := next(lines, b"")) is None and monotonic() < until:
        sleep(_POLL)
    return chain([first], lines)


def _is_conclusive(head: list[bytes], format_: InputFormat) -> bool:
    """Whether the lines so far show the format: not while a JSON value continues on the next line."""
    line = head[-1].removeprefix(BOM).strip()
    if format_ == "text":
        return bool(line)
    ends = line.startswith((b"{", b"[")) and not line.endswith((b"{", b"[", b",", b":"))
    return ends and not is_incomplete(b"".join(head))
