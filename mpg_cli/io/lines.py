"""Reads lines of UTF-8 text of bounded length from files, pipes and terminals. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from mpg_cli.errors import UsageError
from mpg_cli.io.file_kinds import BOM

MAX_LINE = 16 * 2**20  # bytes


class UnreadableLine(Exception):
    """A line that is not UTF-8 or too long."""

    def __init__(self, kind: Literal["invalid_text", "too_long"], message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def raw_lines(source: BinaryIO) -> Iterator[bytes]:
    """Lines with their line feeds; a line longer than MAX_LINE is cut to just above MAX_LINE bytes."""
    while raw := source.readline(MAX_LINE + 2):
        yield raw
        while len(raw) > MAX_LINE and not raw.endswith(b"\n"):
            raw = source.readline(MAX_LINE + 2)
        if not raw.endswith(b"\n"):
            return  # end of input; reading a terminal again would wait for more


def text_of(raw: bytes, number: int) -> str:
    """A raw line (`number` from 1) as text, without its line end and the file's byte order mark.

    Raises UnreadableLine.
    """
    if len(raw) > MAX_LINE:
        raise UnreadableLine("too_long", f"the line is longer than {MAX_LINE // 2**20} MiB")
    raw = raw.rstrip(b"\r\n")
    if number == 1:
        raw = raw.removeprefix(BOM)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableLine("invalid_text", f"not UTF-8: byte 0x{raw[error.start]:02x}") from None


def read_lines(file: Path, label: str) -> list[str]:
    """All lines of a text file; `label` names the file in errors. Raises UsageError."""
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
    """The non-empty lines, stripped. Raises UsageError if there are none."""
    found = [line.strip() for line in read_lines(file, label) if line.strip()]
    if not found:
        raise UsageError(f"{label} has no prompts", hint="write one prompt per line")
    return found
