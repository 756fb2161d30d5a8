"""What a file is that holds no lines of JSON, told by how it begins, and what to do: one message instead of
an error for each line. Torch-free.
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

LOOK = 20  # lines among which one has to be an object
BOM = b"\xef\xbb\xbf"
LINES = "lines.jsonl"  # what messages call the file to make
_TO_JSON = ".to_json({into!r}, orient='records', lines=True)"


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is no text: how it `begins`, and what makes text of it, where something does.

    `packed`: as it stands the text is in it.
    """

    name: str  # as in "FILE is a gzip archive"
    begins: re.Pattern[bytes]
    remedy: str = ""
    packed: bool = False

    def hint(self, path: str, into: str = LINES) -> str | None:
        """What to do about the file at `path`, `into` a new one."""
        return _told(self.remedy, path, into) or None


def _told(remedy: str, path: str, into: str = LINES, **found: str) -> str:
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
    _kind("a pointer of Git LFS", rb"version https://git-lfs", "fetch the file itself: git lfs pull"),
    _kind("a PDF file", rb"%PDF-"),
    PNG,
    _kind("a JPEG picture", rb"\xff\xd8\xff"),
    _kind("a GIF picture", rb"GIF8[79]a"),
    _kind("a WebP picture", rb"RIFF....WEBP"),
    _kind("a GGUF file", rb"GGUF[\x01-\x0f]\x00\x00\x00"),
)


def kind_of(head: bytes) -> FileKind | None:
    """The kind of a file that begins so; None for text, and for what nobody knows."""
    return next((kind for kind in _KINDS if kind.begins.match(head)), None)


def check_text_file(head: bytes, name: str, path: str) -> None:
    """Raise UsageError for a file, `name` in messages, that does not begin as UTF-8 text does."""
    kind = kind_of(head)
    if kind is not None:
        raise UsageError(f"{name} is {kind.name}, not lines of text", hint=kind.hint(path))
    encoding = json.detect_encoding(head).upper()
    if not encoding.startswith("UTF-8"):
        code = encoding.replace("-LE", "LE").replace("-BE", "BE")
        raise UsageError(
            f"{name} is {encoding[:6]}, not UTF-8",
            hint=_told(f"convert it: iconv -f {code} -t UTF-8 {{file}} > {{into}}", path),
        )


@dataclass(frozen=True)
class _Shape:
    """Text that is JSON, or nearly, but no object on each line: how it begins, what it is, and what to do.

    `holds`: whether the value that begins so can be of this shape (None: it is not whole).
    """

    begins: re.Pattern[bytes]
    what: str
    remedy: str
    holds: Callable[[Any], bool] = lambda whole: True


# Names by which the first line of a table is known, and a row that has a list or a table beside them.
_COLUMNS = {
    *("id", "custom_id", "body", "prompt", "messages", "conversations", "question", "query", "instruction"),
    *("input", "output", "answer", "response", "completion", "chosen"),
}


def _wraps_rows(whole: Any) -> bool:
    """Whether nothing beside the rows says that they are a part of one."""
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
            rb'\s*:\s*\[\s*\{(?!\s*"(?:role|content|from|value)")'  # that is a conversation
        ),
        "is one JSON object with its rows in {key}, not an object on each line",
        "write its rows one a line: jq -c '.{key}[]' {file} > {into}",
        _wraps_rows,
    ),
    _Shape(
        re.compile(rb'\{\s*"\w+"\s*:\s*\{\s*"0"\s*:'),
        "is a table by columns, not a JSON object on each line",
        "in Python: pandas.read_json({path!r})" + _TO_JSON,
        _is_by_columns,
    ),
    _Shape(
        re.compile(rb"<(!doctype|html)", re.IGNORECASE),
        "is a web page, not JSON",
        "fetch the file itself, which pages that show one call raw",
    ),
    _Shape(
        _LIST,
        "is a JSON list, not an object on each line",
        "write its objects one a line: jq -c '.[]' {file} > {into}",
    ),
    _Shape(
        re.compile(rb"\{(?:[^\n]*[{\[,:])?\s*(?:\n|\Z)"),
        "has a JSON object over several lines, not one on each",
        "write every object on a line: jq -c . {file} > {into}",
    ),
)


def check_rows(head: Sequence[bytes], name: str, path: str, *, hint: str, lists: bool = False) -> None:
    """Raise UsageError for a file that begins with these lines, if none of them is a JSON object.

    `hint` is for text of no known kind. With `lists`, a JSON list of objects is as good.
    """
    told = [line.removeprefix(BOM).strip() for line in head]
    text = b"\n".join(told).strip()
    if not text:
        return
    said = text.decode("utf-8", "replace")
    if text.startswith(b"{") and any(map(_is_object, _lines_after(said))):
        return  # lines of objects, even if the first is a wrong one
    whole, _ = _opening(said)
    for shape in _SHAPES:
        found = shape.begins.match(text)
        if found is None or (lists and shape.begins is _LIST) or not shape.holds(whole):
            continue
        words = {key: value.decode() for key, value in found.groupdict().items()}
        raise UsageError(f"{name} {shape.what.format(**words)}", hint=_told(shape.remedy, path, **words))
    if any(line.startswith((b"{", b"[") if lists else b"{") for line in told):
        return
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    if (mark := _delimiter(first, path)) is not None:
        kind = "TSV" if mark == "\t" else "CSV"
        remedy = "in Python: pandas.read_csv({path!r}, sep={mark!r})" + _TO_JSON
        raise UsageError(
            f"{name} is {kind}, not a JSON object on each line", hint=_told(remedy, path, mark=mark)
        )
    raise UsageError(f"{name} holds no JSON objects: it begins with '{visible(first, 40)}'", hint=hint)


def goes_on(text: bytes) -> bool:
    """Whether JSON begins here and does not end, so that more lines have to say what it is."""
    said = text.removeprefix(BOM).strip().decode("utf-8", "replace")
    value, end = _opening(said)
    return value is None and end == len(said)


def _lines_after(said: str) -> list[str]:
    """The lines after the first one, unless it begins an object that they are a part of."""
    value, end = _opening(said)
    one_object = end == len(said) if value is None else "\n" in said[:end]
    return [] if one_object else said.split("\n")[1:]


def _opening(said: str) -> tuple[Any, int]:
    """The JSON value that text begins with and its end; None and the place of the mistake if there is one,
    which is the end of the text where the value goes on after it.
    """
    try:
        return json.JSONDecoder().raw_decode(said)
    except json.JSONDecodeError as error:
        return None, error.pos
    except (RecursionError, ValueError):
        return None, 0


def _is_object(line: str) -> bool:
    value, end = _opening(line)
    return isinstance(value, dict) and end == len(line)


def _delimiter(first: str, path: str) -> str | None:
    """What stands between the cells of the first line of a table."""
    called = path.lower().endswith((".csv", ".tsv"))
    for mark in ("\t", ",", ";"):
        cells = {cell.strip().strip('"').lower() for cell in first.split(mark)}
        if mark in first and (called or cells & _COLUMNS):
            return mark
    return None
