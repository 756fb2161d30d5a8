"""Lines of UTF-8 text from files, pipes and terminals, their length bounded. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from mpg_cli.errors import UsageError
from mpg_cli.io.file_kinds import BOM

LONGEST = 16 * 2**20  # bytes of a line


class UnreadableLine(Exception):
    """A line that is no text, or is too long: what kind of mistake, and the mistake in words."""

    def __init__(self, kind: Literal["invalid_text", "too_long"], message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def raw_lines(source: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends, broken at line feeds only; one that is too long comes cut, still too long."""
    while raw := source.readline(LONGEST + 2):
        yield raw
        while len(raw) > LONGEST and not raw.endswith(b"\n"):
            raw = source.readline(LONGEST + 2)
        if not raw.endswith(b"\n"):
            return  # the end; a terminal that is asked again goes on


def text_of(raw: bytes, number: int) -> str:
    """A raw line (`number` from 1) as text, without its end and without the mark that some files begin with.

    Raises UnreadableLine.
    """
    if len(raw) > LONGEST:
        raise UnreadableLine("too_long", f"the line has more than {LONGEST // 2**20} MiB")
    raw = raw.rstrip(b"\r\n")
    if number == 1:
        raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableLine("invalid_text", f"not UTF-8: byte 0x{raw[error.start]:02x}") from None


def read_lines(file: Path, label: str) -> list[str]:
    """All lines of a text file. `label` names it in errors. Raises UsageError."""
    found: list[str] = []
    try:
        with file.expanduser().open("rb") as source:
            for number, raw in enumerate(raw_lines(source), 1):
                found.append(text_of(raw, number))
    except OSError as error:
        raise UsageError(f"{label} cannot be read: {error.strerror}") from None
    except UnreadableLine as error:
        raise UsageError(f"{label}:{len(found) + 1}: {error.message}") from None
    return found


def read_prompts(file: Path, label: str) -> list[str]:
    """The lines that have something on them. Raises UsageError where there are none."""
    found = [line.strip() for line in read_lines(file, label) if line.strip()]
    if not found:
        raise UsageError(f"{label} has no prompt", hint="write one a line")
    return found
