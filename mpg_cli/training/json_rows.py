"""The rows of a file with their lines: JSONL, or one JSON list."""

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
from mpg_cli.training.rows import Wrong

_SPACE = " \t\r\n"


def read_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Line and value of each row; a `Wrong` in place of a value that is not JSON.

    Raises UsageError for a file that cannot be read or is of another kind.
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
        hint = "--data /dev/stdin reads what is piped in" if label == "-" else None
        raise UsageError(f"--data {label} cannot be read: {error.strerror}", hint=hint) from None
    check_text_file(raw[:1024], f"--data {label}", label)
    hint = 'a row is an object on its line, as in {"prompt": "…", "response": "…"}'
    check_rows(list(islice(io.BytesIO(raw), LOOK)), f"--data {label}", label, hint=hint, lists=True)
    return raw.removeprefix(BOM)


def _json(line: bytes, number: int) -> Any:
    try:
        return json.loads(text_of(line, number), object_pairs_hook=_object)
    except UnreadableLine as error:
        return Wrong("not UTF-8" if error.kind == "invalid_text" else "too long", error.message)
    except json.JSONDecodeError as error:
        return Wrong("not JSON", f"not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError):
        return Wrong("not JSON", "not JSON that can be read: nested too deeply, or a number too long")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """The object, or a `Wrong` if a key stands twice in it or in what it holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return Wrong("a key twice", f"the key '{visible(twice, 60)}' stands twice in one object")
    for value in found.values():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, Wrong):
                return part
    return found


def _list_rows(raw: bytes, label: str) -> Iterator[tuple[int, Any]]:
    """As `read_rows`, for one JSON list. After a mistake in its syntax nothing more can be read."""
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
            message = f"not JSON: {error.msg}; the rest of the file is left out"
            yield line + text.count("\n", counted, error.pos), Wrong("not JSON", message)
            return
        except (RecursionError, ValueError):
            message = "not JSON that can be read; the rest of the file is left out"
            yield line, Wrong("not JSON", message)
            return
        yield line, item
        at = _skip(text, at)
        ended = text[at : at + 1] == "]"
        if ended:
            break
        if text[at : at + 1] != ",":
            message = "not JSON: a comma or ] is missing; the rest of the file is left out"
            yield line + text.count("\n", counted, at), Wrong("not JSON", message)
            return
        at = _skip(text, at + 1)
    after = _skip(text, at + 1)
    if after < len(text):
        message = "not JSON: text after the ] of the list; the rest of the file is left out"
        yield line + text.count("\n", counted, after), Wrong("not JSON", message)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
