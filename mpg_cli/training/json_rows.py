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
from mpg_cli.training.rows import RowError

_SPACE = " \t\r\n"


def read_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of each row; a `RowError` in place of a value that is not JSON.

    Raises UsageError for a file that cannot be read or has another format.
    """
    label = visible(str(file))
    raw = _read(file, label)
    if raw.lstrip()[:1] == b"[":
        yield from _list_rows(raw, label)
        return
    for number, line in enumerate(raw_lines(io.BytesIO(raw)), 1):
        if line.strip():
            yield number, _json(line, number)


def _read(file: Path, label: str) -> bytes:
    try:
        raw = file.expanduser().read_bytes()
    except OSError as error:
        hint = "use --data /dev/stdin to read from a pipe" if label == "-" else None
        raise UsageError(f"--data {label} cannot be read: {error.strerror}", hint=hint) from None
    check_text_file(raw[:1024], f"--data {label}", label)
    hint = 'a row is an object on its line, as in {"prompt": "…", "response": "…"}'
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
            message = f"not JSON: {error.msg}; the rest of the file is skipped"
            yield line + text.count("\n", counted, error.pos), RowError("not JSON", message)
            return
        except (RecursionError, ValueError):
            message = "cannot be parsed; the rest of the file is skipped"
            yield line, RowError("not JSON", message)
            return
        yield line, item
        at = _skip(text, at)
        ended = text[at : at + 1] == "]"
        if ended:
            break
        if text[at : at + 1] != ",":
            message = "not JSON: a comma or ] is missing; the rest of the file is skipped"
            yield line + text.count("\n", counted, at), RowError("not JSON", message)
            return
        at = _skip(text, at + 1)
    after = _skip(text, at + 1)
    if after < len(text):
        message = "not JSON: text after the ] of the list; the rest of the file is skipped"
        yield line + text.count("\n", counted, after), RowError("not JSON", message)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
