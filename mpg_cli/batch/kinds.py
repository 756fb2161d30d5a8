"""Files that hold no lines: one message instead of an error for each of their lines. Torch-free."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from time import monotonic, sleep

from mpg_cli.batch.fields import FIELDS
from mpg_cli.batch.lines import InputFormat
from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

LOOK = 20  # lines among which one has to be an object
MOMENT = 2.0  # seconds that the first lines of a pipe are waited for
_POLL = 0.02
_BOM = b"\xef\xbb\xbf"
_TO_JSON = ".to_json('lines.jsonl', orient='records', lines=True)"
# How files begin that others read: what they are, and how their lines come out.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip -c {file} | mpg batch -"),
    b"PK\x03\x04": ("a zip file", "unzip -p {file} | mpg batch -"),
    b"BZh": ("bzip2", "bunzip2 -c {file} | mpg batch -"),
    b"\xfd7zXZ\x00": ("xz", "xz -dc {file} | mpg batch -"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc {file} | mpg batch -"),
    b"PAR1": ("Parquet", "in Python: pandas.read_parquet({path!r})" + _TO_JSON),
}


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
        if len(head) == LOOK or _start(line) in (b"{", b"[") or (format_ == "text" and line.strip()):
            break
    check_kind(head, name, format_)
    yield from head
    yield from raw


def begun(lines: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The same lines; what their first raises comes now, if it comes within a moment."""
    until = monotonic() + MOMENT
    while (first := next(lines, b"")) is None and monotonic() < until:
        sleep(_POLL)
    return chain([first], lines)


def check_kind(head: Sequence[bytes], name: str, format_: InputFormat) -> None:
    """Raise UsageError, with what to do, if a file that begins with these lines holds none to answer."""
    raw = b"".join(head)
    path = "FILE" if name == "stdin" else name
    file = shlex.quote(path)
    for magic, (kind, remedy) in _PACKED.items():
        if raw.startswith(magic):
            raise UsageError(f"{name} is {kind}, not lines of text", hint=remedy.format(file=file, path=path))
    encoding = json.detect_encoding(raw).upper()
    if not encoding.startswith("UTF-8"):
        code = encoding.replace("-LE", "LE").replace("-BE", "BE")
        raise UsageError(
            f"{name} is {encoding[:6]}, not UTF-8",
            hint=f"convert it: iconv -f {code} -t UTF-8 {file} > lines.jsonl",
        )
    told = [line.removeprefix(_BOM).strip() for line in head]
    first = next(filter(None, told), b"")
    if format_ == "text" or not first:
        return
    if first.startswith(b"["):
        raise UsageError(
            f"{name} is a JSON list, not an object on each line",
            hint=f"write its objects one a line: jq -c '.[]' {file} > lines.jsonl",
        )
    if first.startswith(b"{") and first.endswith((b"{", b"[", b",", b":")):
        raise UsageError(
            f"{name} has a JSON object over several lines, not one on each",
            hint=f"write every object on a line: jq -c . {file} > lines.jsonl",
        )
    if not any(_start(line) == b"{" for line in told):
        raise _no_json(first.decode("utf-8", "replace"), name, path)


def _no_json(first: str, name: str, path: str) -> UsageError:
    """What is said of a file whose first lines are none of JSON."""
    for mark, kind in ((",", "CSV"), ("\t", "TSV"), (";", "CSV")):
        if {cell.strip().strip('"').lower() for cell in first.split(mark)} & FIELDS.keys() and mark in first:
            return UsageError(
                f"{name} is {kind}, not a JSON object on each line",
                hint=f"in Python: pandas.read_csv({path!r}, sep={mark!r}){_TO_JSON}",
            )
    return UsageError(
        f"{name} holds no JSON objects: it begins with '{visible(first, 40)}'",
        hint="--input-format text takes a prompt on every line",
    )


def _start(line: bytes) -> bytes:
    return line.removeprefix(_BOM).lstrip()[:1]
