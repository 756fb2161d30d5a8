"""Read the rows of a file with their line numbers: JSONL, or one JSON list."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.file_kinds import BOM, LOOK, check_rows, check_text_file
from mpg_cli.io.lines import UnreadableLine, raw_lines, text_of
from mpg_cli.io.text import visible

_SPACE = " \t\r\n"


class RowError(Exception):
    """A row that cannot be used: the kind of error, for counting, and the message.

    `last`: nothing can be read after it.
    """

    def __init__(self, kind: str, message: str, *, last: bool = False) -> None:
        super().__init__(message)
        self.kind, self.last = kind, last


def read_rows(file: Path, hint: str) -> Iterator[tuple[int, Any]]:
    """Line number and value of each row of --data; a `RowError` in place of a value that is not JSON.

    Raises UsageError for a file that cannot be read or has another format; `hint` says what a row is.
    """
    label = visible(str(file))
    raw = _read(file, label, hint)
    if raw.lstrip()[:1] == b"[":
        yield from _list_rows(raw, label)
        return
    for number, line in enumerate(raw_lines(io.BytesIO(raw)), 1):
        if line.strip():
            yield number, _json(line, number)


def _read(file: Path, label: str, hint: str) -> bytes:
    try:
        raw = file.expanduser().read_bytes()
    except OSError as error:
        remedy = "use --data /dev/stdin to read from a pipe" if label == "-" else None
        raise UsageError(f"--data {label} cannot be read: {error.strerror}", hint=remedy) from None
    check_text_file(raw[:1024], f"--data {label}", label)
    check_rows(list(islice(io.BytesIO(raw), LOOK)), f"--data {label}", label, hint=hint, lists=True)
    return raw.removeprefix(BOM)


def _json(line: bytes, number: int) -> Any:
    try:
        return json.loads(text_of(line, number), object_pairs_hook=_object)
    except UnreadableLine as error:
        return RowError("not UTF-8" if error.kind == "invalid_text" else "too long", error.message)
    except json.JSONDecodeError as error:
        return RowError("not JSON", f"not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError):
        return RowError("not JSON", "cannot be parsed: nested too deeply, or a number with too many digits")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """The object, or a `RowError` if it or a value within has a duplicate key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return RowError("a key twice", f"the key '{visible(twice, 60)}' occurs twice in one object")
    for value in found.values():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, RowError):
                return part
    return found


def _list_rows(raw: bytes, label: str) -> Iterator[tuple[int, Any]]:
    """As `read_rows`, for one JSON list. A syntax error ends the rows."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"--data {label}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8") from None
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    at, line, counted = _skip(text, text.index("[") + 1), 1, 0
    ended = text[at : at + 1] == "]"
    while not ended:
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg}"
            yield line + text.count("\n", counted, error.pos), RowError("not JSON", message, last=True)
            return
        except (RecursionError, ValueError):
            message = "cannot be parsed"
            yield line, RowError("not JSON", message, last=True)
            return
        yield line, item
        at = _skip(text, at)
        ended = text[at : at + 1] == "]"
        if ended:
            break
        if text[at : at + 1] != ",":
            message = "not JSON: a comma or ] is missing"
            yield line + text.count("\n", counted, at), RowError("not JSON", message, last=True)
            return
        at = _skip(text, at + 1)
    after = _skip(text, at + 1)
    if after < len(text):
        message = "not JSON: text after the ] of the list"
        yield line + text.count("\n", counted, after), RowError("not JSON", message, last=True)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
