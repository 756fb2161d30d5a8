"""Parses untrusted YAML to plain data (mappings, lists, text, numbers, booleans, null) with line numbers.

Built on the parser's events, not on PyYAML's constructors: no recursion, no aliases, no objects from tags.
Stricter than YAML on purpose: no anchors, duplicate keys, keys other than text, infinite numbers or control
characters. Plain scalars follow YAML 1.2, so `no` is text and `1e3` a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io.text import HARMFUL, codepoint, visible

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_DIGITS = 300  # about the largest float; int() of text is quadratic

KeyPath = tuple[str | int, ...]

# libyaml, if PyYAML was built with it, gives the same events ten times faster.
LOADER: Any = yaml.CSafeLoader if getattr(yaml, "__with_libyaml__", False) else yaml.SafeLoader

_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Forbidden anywhere in a file; PyYAML's two parsers disagree on a byte order mark inside the text.
_RAW_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_KEY_LINE = re.compile(r"^[ \t-]*([A-Za-z_][\w-]*)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """One document of a file: its mapping, and the line (from 1) of every key and list item."""

    file: Path
    line: int
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """`FILE:LINE: KEY`, with the line of the longest prefix of `path` that the file contains."""
        held = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.lines), ())
        return where_in(self.file, self.lines.get(held, self.line), path)


def read(
    file: Path,
    *,
    error: type[UsageError] = PersonaError,
    noted: list[str] | None = None,
    loader: Any = LOADER,
) -> tuple[Document, ...]:
    """The non-empty documents of `file`. Raises `error` with file, line and key.

    With `noted`, errors in a readable file are appended to it, and the returned documents must not be used.
    `loader` is the class of PyYAML whose parser reads the text.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(f"{where_in(file)}: cannot be read: {problem.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise error(f"{where_in(file)}: larger than {MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise error(f"{where_in(file, line)}: byte 0x{raw[problem.start]:02x} is not UTF-8") from None
    return parse(text, file, error=error, noted=noted, loader=loader)


def parse(
    text: str,
    file: Path,
    *,
    error: type[UsageError] = PersonaError,
    noted: list[str] | None = None,
    loader: Any = LOADER,
) -> tuple[Document, ...]:
    """The documents of `text`; `file` names it in errors. Raises `error` as `read` does."""
    found: list[Document] = []
    try:
        for document in _Composer(file, error, noted).documents(text, loader):
            found.append(document)  # keep the documents before an error
    except error as problem:
        if noted is None:
            raise
        noted.append(problem.message)
    return tuple(found)


def describe(path: KeyPath) -> str:
    """`adapters[0].path` for ("adapters", 0, "path")."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{visible(part, 60)}" for part in path)
    return shown.removeprefix(".")


def where_in(file: Path, line: int | None = None, path: KeyPath = ()) -> str:
    """`FILE:LINE: KEY`, for messages."""
    where = visible(str(file)) + (f":{line}" if line else "")
    return f"{where}: {describe(path)}" if path else where


class _Frame:
    """An open mapping or list, and the key or index that the next node belongs to."""

    def __init__(self, container: dict[str, Any] | list[Any]) -> None:
        self.container = container
        self.key: str | int | None = None if isinstance(container, dict) else 0


class _Composer:
    """Builds plain documents from parser events with an explicit stack."""

    def __init__(self, file: Path, error: type[UsageError], noted: list[str] | None = None) -> None:
        self.file = file
        self.error = error
        self.noted = noted
        self.frames: list[_Frame] = []
        self.lines: dict[KeyPath, int] = {}
        self.root: Any = None
        self.line = 1  # of the current event
        self.first = 1  # line of the document's content

    def documents(self, text: str, loader: Any) -> Iterator[Document]:
        """The documents of `text`. Raises `self.error` for all errors."""
        self._refuse_raw_controls(text)
        try:
            for event in yaml.parse(text, Loader=loader):
                if event.start_mark is not None:
                    self.line = event.start_mark.line + 1
                if isinstance(event, yaml.DocumentStartEvent):
                    self.frames, self.lines, self.root = [], {}, None
                elif isinstance(event, yaml.AliasEvent):
                    self._fail(f"aliases (*{visible(str(event.anchor), 60)}) are not allowed")
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self.frames.pop()
                    self._advance()
                elif isinstance(event, yaml.DocumentEndEvent) and self.root is not None:
                    yield self._document()
        except yaml.MarkedYAMLError as problem:
            if problem.problem_mark is not None:
                self.line = problem.problem_mark.line + 1
            self._fail_unparsed(text, f"not YAML: {visible(problem.problem or 'syntax error')}")
        except (yaml.YAMLError, ValueError, OverflowError) as problem:  # such as the escape "\\UFFFFFFFF"
            self._fail(f"not YAML: {visible(str(problem), 200)}")

    def _document(self) -> Document:
        if not isinstance(self.root, dict):
            self.line = self.first
            self._fail("a document must be a mapping of keys to values")
        return Document(self.file, self.first, self.root, self.lines)

    def _node(self, event: Any) -> None:
        if event.anchor is not None:
            self._note(f"anchors (&{visible(event.anchor, 60)}) are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            if self._expects_key():
                self._open_key(value)
            else:
                self._place(value)
                self._advance()
            return
        if self._expects_key():
            self._fail("a key must be text")
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        kind = "map" if isinstance(container, dict) else "seq"
        if event.tag not in (None, "!", _TAG + kind):
            self._note(f"the tag {visible(event.tag, 60)} is not allowed")
        if len(self.frames) == MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels")
        self._place(container)
        self.frames.append(_Frame(container))

    def _expects_key(self) -> bool:
        return bool(self.frames) and self.frames[-1].key is None

    def _open_key(self, key: Any) -> None:
        if not isinstance(key, str):
            self._fail(f"a key must be text, not {kind_of(key)}; put it in quotes")
        frame = self.frames[-1]
        frame.key = key
        path = self._path()
        if key in frame.container:
            self._note(f"duplicate key, first in line {self.lines[path]}")
        self.lines[path] = self.line

    def _place(self, value: Any) -> None:
        if not self.frames:
            self.root, self.first = value, self.line
            return
        frame = self.frames[-1]
        if isinstance(frame.container, list):
            self.lines[self._path()] = self.line
            frame.container.append(value)
        else:
            frame.container[str(frame.key)] = value

    def _advance(self) -> None:
        if self.frames:
            frame = self.frames[-1]
            frame.key = frame.key + 1 if isinstance(frame.key, int) else None

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        harmful = HARMFUL.search(text)
        if harmful:
            self._note(f"the control character {codepoint(harmful.group())} is not allowed in text")
        if event.tag is None:
            return self._plain(text) if event.implicit[0] else text
        if event.tag in ("!", _TAG + "str"):
            return text
        value = self._plain(text)
        if event.tag != _TAG + _TAG_OF[type(value)]:
            self._fail(f"the tag {visible(event.tag, 60)} is not allowed here")
        return value

    def _plain(self, text: str) -> Any:
        """A plain scalar by the core schema of YAML 1.2, without octal and hexadecimal numbers."""
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if len(text) <= _MAX_DIGITS and _INTEGER.fullmatch(text):
            return int(text)
        # Only digits with a leading zero: an identifier (a commit, a date), not a number.
        if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit():
            number = float(text)
            if math.isfinite(number):
                return number
            self._fail("a number must be finite; put it in quotes if it is text")
        if _NOT_FINITE.fullmatch(text):
            self._fail(f"a number must be finite, not {text}; put it in quotes if it is text")
        return text

    def _path(self) -> KeyPath:
        return tuple(frame.key for frame in self.frames if frame.key is not None)

    def _refuse_raw_controls(self, text: str) -> None:
        bad = _RAW_CONTROL.search(text)
        if bad is not None:
            self.line = text.count("\n", 0, bad.start()) + 1
            self._fail_unparsed(text, f"the control character {codepoint(bad.group())} is not allowed")

    def _fail_unparsed(self, text: str, message: str) -> NoReturn:
        """Fail at `self.line`, at the parser's current key or else the last text that looks like a key."""
        above = "\n".join(text.split("\n")[: self.line])
        keys = _KEY_LINE.findall(above)
        where = where_in(self.file, self.line, self._path() or tuple(keys[-1:]))
        raise self.error(f"{where}: {message}") from None

    def _note(self, message: str) -> None:
        """Record an error that parsing can continue after; fail if errors are not collected."""
        if self.noted is None:
            self._fail(message)
        self.noted.append(f"{where_in(self.file, self.line, self._path())}: {message}")

    def _fail(self, message: str) -> NoReturn:
        raise self.error(f"{where_in(self.file, self.line, self._path())}: {message}") from None


_TAG_OF: dict[type, str] = {str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}


def kind_of(value: object) -> str:
    """The type of `value`, for error messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), type(value).__name__)
