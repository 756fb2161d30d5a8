"""The lines of --data: role-playing lines or open questions, as JSON lines or one JSON list. Torch-free.

A role-playing line is {profile, personality, reference_answer}, and optionally a question. An open question
is {instruction, output}, and optionally an input, as in Alpaca's files. A file has lines of one kind.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpg_cli.errors import UsageError
from mpg_cli.io.json_rows import RowError, read_rows
from mpg_cli.io.text import check_text, did_you_mean, visible

Kind = Literal["roles", "questions"]

KEYS: dict[Kind, tuple[str, ...]] = {
    "roles": ("profile", "personality", "reference_answer", "question", "id"),
    "questions": ("instruction", "output", "input", "id"),
}
_NAMES: dict[Kind, str] = {"roles": "a role-playing line", "questions": "an open question"}
_EITHER = "{profile, personality, reference_answer} or {instruction, output}"
_HINT = f"give lines of {_EITHER}"


@dataclass(frozen=True)
class DataLine:
    """An object of the file; `where` is its place for messages."""

    file: Path
    line: int
    id: str
    data: dict[str, Any]

    @property
    def where(self) -> str:
        return f"--data {visible(str(self.file))}:{self.line}"

    def text(self, key: str, *, needed: bool = False, empty: bool = False) -> str | None:
        """The text under a key; None without one, and for an empty one if `empty` allows it.

        Raises UsageError.
        """
        value = self.data.get(key)
        if value is None and not needed:
            return None
        if empty and isinstance(value, str) and not value.strip():
            return None
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{self.where}: {key} {'must be text' if key in self.data else 'is missing'}")
        return check_text(f"{self.where}: {key}", value.strip())


@dataclass(frozen=True)
class DataLines:
    """The lines of a file, and what they are."""

    kind: Kind
    lines: tuple[DataLine, ...]


def read_data(file: Path, most: int | None = None) -> DataLines:
    """The lines of a file, the first `most` of them. A line without an id has its number among them.

    Raises UsageError naming file and line.
    """
    name = f"--data {visible(str(file))}"
    found: list[DataLine] = []
    kind: Kind | None = None
    for number, (line, row) in enumerate(read_rows(file, _HINT), 1):
        where = f"{name}:{line}"
        if isinstance(row, RowError):
            raise UsageError(f"{where}: {row}")
        if not isinstance(row, dict):
            raise UsageError(f"{where}: must be an object {_EITHER}")
        kind = _check_kind(where, row, kind)
        found.append(DataLine(file, line, _id(where, row, number), row))
    if kind is None:
        raise UsageError(f"{name} has no lines", hint=_HINT)
    if most is not None and not 1 <= most <= len(found):
        raise UsageError(f"--count {most} must be between 1 and {len(found)}, the number of lines")
    if twice := next((id_ for id_, count in Counter(one.id for one in found).items() if count > 1), None):
        raise UsageError(f"{name} has the id {visible(twice, 60)} twice")
    return DataLines(kind, tuple(found[:most]))


def _check_kind(where: str, row: dict[str, Any], before: Kind | None) -> Kind:
    """What the row is. Raises UsageError for unknown keys, and for another kind than the rows before."""
    own = next((kind for kind, keys in KEYS.items() if not row.keys().isdisjoint(keys[:-1])), before)
    if own is None:
        raise UsageError(f"{where}: must be an object {_EITHER}")
    if before is not None and own != before:
        raise UsageError(
            f"{where}: is {_NAMES[own]}, the line before is {_NAMES[before]}",
            hint="a file has lines of one kind; write a file for each",
        )
    for key in row:
        if key not in KEYS[own]:
            close = did_you_mean(key, KEYS[own], 1) or f" (choose from {', '.join(KEYS[own])})"
            raise UsageError(f"{where}: unknown key '{visible(key, 60)}'{close}")
    return own


def _id(where: str, row: dict[str, Any], number: int) -> str:
    id_ = row.get("id", number)
    if isinstance(id_, bool) or not isinstance(id_, str | int) or id_ == "":
        raise UsageError(f"{where}: id must be text or a number")
    return str(id_)
