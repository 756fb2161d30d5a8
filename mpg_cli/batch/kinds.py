"""The first lines of a batch: whether they are lines at all is known before any work. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from time import monotonic, sleep

from mpg_cli.batch.lines import InputFormat
from mpg_cli.io.file_kinds import BOM, LOOK, check_rows, check_text_file, is_incomplete

MOMENT = 2.0  # seconds that the first lines of a pipe are waited for
_POLL = 0.02


def known(raw: Iterator[bytes | None], name: str, format_: InputFormat = "jsonl") -> Iterator[bytes | None]:
    """The same lines, once the first ones show that they are some; `name` is the file's.

    Raises UsageError.
    """
    head: list[bytes] = []
    for line in raw:
        if line is None:
            yield None
            continue
        head.append(line)
        if len(head) == LOOK or _shows(head, format_):
            break
    check_text_file(b"".join(head), name, name)
    if format_ == "jsonl":
        check_rows(head, name, name, hint="--input-format text takes a prompt on every line")
    yield from head
    yield from raw


def begun(lines: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The same lines; what their first raises comes now, if it comes within a moment."""
    until = monotonic() + MOMENT
    while (first := next(lines, b"")) is None and monotonic() < until:
        sleep(_POLL)
    return chain([first], lines)


def _shows(head: list[bytes], format_: InputFormat) -> bool:
    """Whether the last line shows what the file holds: JSON that goes on does not yet say what is in it."""
    line = head[-1].removeprefix(BOM).strip()
    if format_ == "text":
        return bool(line)
    ends = line.startswith((b"{", b"[")) and not line.endswith((b"{", b"[", b",", b":"))
    return ends and not is_incomplete(b"".join(head))
