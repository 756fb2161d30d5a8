"""Detects files that are not JSON lines by their first bytes. The result is one message with a remedy instead
of an error for each line. Torch-free.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible

LOOK = 20  # first lines, of which at least one must be an object
BOM = b"\xef\xbb\xbf"
LINES = "lines.jsonl"  # the name of a converted file in hints
_TO_JSON = ".to_json({into!r}, orient='records', lines=True)"


@dataclass(frozen=True)
class FileKind:
    """A binary file format: a pattern for its first bytes, and the command that converts it, if any.

    `packed` marks archives, which contain the text unchanged.
    """

    name: str  # as in "FILE is a gzip archive"
    begins: re.Pattern[bytes]
    remedy: str = ""
    packed: bool = False

    def hint(self, path: str, into: str = LINES) -> str | None:
        """The hint to convert the file at `path` to the file `into`."""
        return _filled(self.remedy, path, into) or None


def _filled(remedy: str, path: str, into: str = LINES, **found: str) -> str:
    """The template of a remedy, filled in."""
    path = "FILE" if path == "stdin" else path
    new = f"new-{into}" if os.path.basename(path) == into else into  # never the file itself
    return remedy.format(file=shlex.quote(path), path=path, into=new, **found)


def _archive(name: str, begins: bytes, command: str) -> FileKind:
    remedy = f"unpack it: {command} {{file}} > {{into}}"
    return FileKind(name, re.compile(begins), remedy, packed=True)


def _kind(name: str, begins: bytes, remedy: str = "") -> FileKind:
    return FileKind(name, re.compile(begins, re.DOTALL), remedy)


PNG = _kind("a PNG picture", rb"\x89PNG\r\n\x1a\n")
_KINDS = (
    _archive("a gzip archive", rb"\x1f\x8b", "gunzip -c"),
    _archive("a zip archive", rb"PK\x03\x04", "unzip -p"),
    _archive("a bzip2 archive", rb"BZh[1-9]", "bunzip2 -c"),
    _archive("an xz archive", rb"\xfd7zXZ\x00", "xz -dc"),
    _archive("a zstd archive", rb"\x28\xb5\x2f\xfd", "zstd -dc"),
    _archive("a 7z archive", rb"7z\xbc\xaf\x27\x1c", "7z x -so"),
    _kind("a Parquet file", rb"PAR1", "in Python: pandas.read_parquet({path!r})" + _TO_JSON),
    _kind("a Git LFS pointer", rb"version https://git-lfs", "download the file itself: git lfs pull"),
    _kind("a PDF file", rb"%PDF-"),
    PNG,
    _kind("a JPEG picture", rb"\xff\xd8\xff"),
    _kind("a GIF picture", rb"GIF8[79]a"),
    _kind("a WebP picture", rb"RIFF....WEBP"),
    _kind("a GGUF file", rb"GGUF[\x01-\x0f]\x00\x00\x00"),
)


def kind_of(head: bytes) -> FileKind | None:
    """The format of a file with these first bytes; None for text and unknown formats."""
    return next((kind for kind in _KINDS if kind.begins.match(head)), None)


def check_text_file(head: bytes, name: str, path: str, into: str = LINES) -> None:
    """Raise UsageError for a file that does not begin with UTF-8 text; `name` is used in messages.

    `into` is the name of the converted file in hints.
    """
    kind = kind_of(head)
    if kind is not None:
        raise UsageError(f"{name} is {kind.name}, not lines of text", hint=kind.hint(path, into))
    encoding = json.detect_encoding(head).upper()
    if not encoding.startswith("UTF-8"):
        code = encoding.replace("-LE", "LE").replace("-BE", "BE")
        raise UsageError(
            f"{name} is {encoding[:6]}, not UTF-8",
            hint=_filled(f"convert it: iconv -f {code} -t UTF-8 {{file}} > {{into}}", path, into),
        )


@dataclass(frozen=True)
class _Shape:
    """Text that is JSON or similar, but not one object per line: a pattern, a description and a remedy.

    `holds` tests the first JSON value of the text (None if it is incomplete).
    """

    begins: re.Pattern[bytes]
    what: str
    remedy: str
    holds: Callable[[Any], bool] = lambda whole: True


# Common column names: they identify the header of a table, and a data row that also contains a list.
_COLUMNS = {
    *("id", "custom_id", "body", "prompt", "messages", "conversations", "question", "query", "instruction"),
    *("input", "output", "answer", "response", "completion", "chosen"),
}


def _wraps_rows(whole: Any) -> bool:
    """Whether the object only wraps a list of rows, and is not itself a row."""
    return whole is None or (_COLUMNS - {"id"}).isdisjoint(map(str.lower, whole))


def _is_by_columns(whole: Any) -> bool:
    return whole is None or all(isinstance(cells, dict) and "0" in cells for cells in whole.values())


_LIST = re.compile(rb"\[")
_SHAPES = (
    _Shape(
        re.compile(rb"\[?\s*\{\s*'"),
        "is written as Python, not as JSON",
        'convert it: python -c "import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) '
        'for line in sys.stdin]" < {file} > {into}',
    ),
    _Shape(
        re.compile(
            rb'\{\s*"(?P<key>data|rows|train|test|examples|samples|items|records|requests|prompts)"'
            rb'\s*:\s*\[\s*\{(?!\s*"(?:role|content|from|value)")'  # not a conversation
        ),
        "is one JSON object with its rows in {key}, not one object per line",
        "write one row per line: jq -c '.{key}[]' {file} > {into}",
        _wraps_rows,
    ),
    _Shape(
        re.compile(rb'\{\s*"\w+"\s*:\s*\{\s*"0"\s*:'),
        "is a table by columns, not one JSON object per line",
        "in Python: pandas.read_json({path!r})" + _TO_JSON,
        _is_by_columns,
    ),
    _Shape(
        re.compile(rb"<(!doctype|html)", re.IGNORECASE),
        "is a web page, not JSON",
        "download the file itself, often linked as raw",
    ),
    _Shape(
        _LIST,
        "is a JSON list, not one object per line",
        "write one object per line: jq -c '.[]' {file} > {into}",
    ),
    _Shape(
        re.compile(rb"\{(?:[^\n]*[{\[,:])?\s*(?:\n|\Z)"),
        "has JSON objects over several lines, not one per line",
        "write one object per line: jq -c . {file} > {into}",
    ),
)


def check_rows(head: Sequence[bytes], name: str, path: str, *, hint: str, lists: bool = False) -> None:
    """Raise UsageError if none of the first lines of a file is a JSON object.

    `hint` is used for text of no known kind. With `lists` a JSON list of objects is valid too.
    """
    lines = [line.removeprefix(BOM).strip() for line in head]
    text = b"\n".join(lines).strip()
    if not text:
        return
    decoded = text.decode("utf-8", "replace")
    if text.startswith(b"{") and any(map(_is_object, _lines_after(decoded))):
        return  # lines of objects, even if the first one is invalid
    whole, _ = _first_value(decoded)
    for shape in _SHAPES:
        found = shape.begins.match(text)
        if found is None or (lists and shape.begins is _LIST) or not shape.holds(whole):
            continue
        words = {key: value.decode() for key, value in found.groupdict().items()}
        raise UsageError(f"{name} {shape.what.format(**words)}", hint=_filled(shape.remedy, path, **words))
    if any(line.startswith((b"{", b"[") if lists else b"{") for line in lines):
        return
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    if (mark := _delimiter(first, path)) is not None:
        kind = "TSV" if mark == "\t" else "CSV"
        remedy = "in Python: pandas.read_csv({path!r}, sep={mark!r})" + _TO_JSON
        raise UsageError(
            f"{name} is {kind}, not one JSON object per line", hint=_filled(remedy, path, mark=mark)
        )
    raise UsageError(f"{name} has no JSON objects; it begins with '{visible(first, 40)}'", hint=hint)


def is_incomplete(text: bytes) -> bool:
    """Whether the text begins a JSON value and ends before the value does."""
    decoded = text.removeprefix(BOM).strip().decode("utf-8", "replace")
    value, end = _first_value(decoded)
    return value is None and end == len(decoded)


def _lines_after(text: str) -> list[str]:
    """The lines after the first one; none if they belong to the object that the first one begins."""
    value, end = _first_value(text)
    one_object = end == len(text) if value is None else "\n" in text[:end]
    return [] if one_object else text.split("\n")[1:]


def _first_value(text: str) -> tuple[Any, int]:
    """The JSON value at the start of the text and its end; None and the position of the error if it is
    invalid.

    The position is the end of the text if the value is incomplete.
    """
    try:
        return json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return None, error.pos
    except (RecursionError, ValueError):
        return None, 0


def _is_object(line: str) -> bool:
    value, end = _first_value(line)
    return isinstance(value, dict) and end == len(line)


def _delimiter(first: str, path: str) -> str | None:
    """The delimiter of a table with this first line; None if it is not a table."""
    named_table = path.lower().endswith((".csv", ".tsv"))
    for mark in ("\t", ",", ";"):
        cells = {cell.strip().strip('"').lower() for cell in first.split(mark)}
        if mark in first and (named_table or cells & _COLUMNS):
            return mark
    return None
