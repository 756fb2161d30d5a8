"""Selects the lorebook entries of a card that are always in the prompt, and their position.

A persona's prompt is fixed, so entries that depend on key words of the conversation are skipped. Constant
entries and entries activated by a decorator (Character Card V3, "Decorators") are used.

SillyTavern, the source of most cards, writes `use_regex: true` into every entry, and its own position,
probability and group into `extensions`; if it differs from the specification, SillyTavern's meaning applies.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.safe_yaml import kind_of
from mpg_cli.personas.importing.chance import seeded

BEFORE, AFTER = "before_char", "after_char"

_DECORATOR = re.compile(r"\s*@@(@?)([A-Za-z_]+)(?:[ \t]+(.*))?")
_AT_DEPTH, _OUTLET = 4, 7  # SillyTavern's positions: among the messages, and at an outlet macro
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_POSITIONS = {"before_desc": BEFORE, "after_desc": AFTER, "personality": AFTER, "scenario": AFTER}
# The supported decorators. The others depend on the state of a chat and are removed from the text.
_SUPPORTED = (
    "activate",
    "dont_activate",
    "activate_only_after",
    "additional_keys",
    "is_greeting",
    "position",
)
_DEPTHS = frozenset(("depth", "instruct_depth", "reverse_depth", "reverse_instruct_depth"))


@dataclass(frozen=True)
class Book:
    """The texts before and after the description, in order, and counts of special entries."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    waiting: int = 0  # enabled, but they depend on key words, the conversation or another entry
    deep: int = 0  # used, although they belong among the messages
    drawn: int = 0  # randomly selected for each reply in chat programs, here once


@dataclass(frozen=True)
class _Entry:
    """An entry without key words. `data` has the fields of the card and of SillyTavern, in snake_case."""

    index: int
    data: Mapping[str, Any]
    text: str
    decorators: Mapping[str, str]

    @property
    def order(self) -> tuple[float, int]:
        return _number(self.data.get("insertion_order", self.data.get("order"))), self.index

    @property
    def before(self) -> bool:
        position = _POSITIONS.get(self.decorators.get("position", ""), self.data.get("position"))
        return str(position) in (BEFORE, "0")

    @property
    def deep(self) -> bool:
        """Whether its position is among the messages, at a depth."""
        return _number(self.data.get("position")) == _AT_DEPTH or not _DEPTHS.isdisjoint(self.decorators)

    @property
    def chance(self) -> float:
        """The probability in percent."""
        certain = self.data.get("use_probability") is False or self.data.get("probability") is None
        return 100.0 if certain else _number(self.data["probability"])

    @property
    def group(self) -> str:
        """The group, of which only one entry is used; "" without one."""
        return str(self.data.get("group") or "")


def read_book(book: Any, where: str) -> Book:
    """The lorebook of a card, empty for None. Raises UsageError for another type."""
    entries = book.get("entries") if isinstance(book, dict) else book
    if entries is None:
        return Book()
    if isinstance(entries, dict):  # by number, as in SillyTavern's own books
        entries = list(entries.values())
    if not isinstance(entries, list):
        found = kind_of(entries)
        raise UsageError(f"{where}: the card's character_book must have a list of entries, not {found}")
    always: list[_Entry] = []
    waiting = 0
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            found = kind_of(entry)
            raise UsageError(f"{where}: entry {index + 1} of the card's lorebook is {found}, not a mapping")
        extensions = entry.get("extensions")
        data = _snake_case(entry) | _snake_case(extensions if isinstance(extensions, dict) else {})
        content = entry.get("content")
        if not _enabled(entry) or not isinstance(content, str):
            continue
        text, decorators = _split(content)
        if not text:
            continue
        if _always(data, decorators):
            always.append(_Entry(index, data, text, decorators))
        else:
            waiting += "dont_activate" not in decorators
    groups = Counter(entry.group for entry in always if entry.group)
    selected = sorted(_select(always), key=lambda entry: entry.order)
    return Book(
        before=tuple(entry.text for entry in selected if entry.before),
        after=tuple(entry.text for entry in selected if not entry.before),
        waiting=waiting,
        deep=sum(entry.deep for entry in selected),
        drawn=sum(entry.chance < 100 or groups[entry.group] > 1 for entry in always),
    )


def _enabled(entry: Mapping[str, Any]) -> bool:
    enabled = entry.get("enabled")
    return (enabled is None or _flag(enabled)) and not _flag(entry.get("disable"))


def _always(data: Mapping[str, Any], decorators: Mapping[str, str]) -> bool:
    """Whether the entry is in the prompt before the first message."""
    if _is_delayed(data):
        return False
    if "activate" in decorators:
        return True
    if "dont_activate" in decorators or "additional_keys" in decorators:
        return False
    if any(_number(decorators.get(name)) > 0 for name in ("activate_only_after", "is_greeting")):
        return False
    return _flag(data.get("constant"))


def _is_delayed(data: Mapping[str, Any]) -> bool:
    """Whether SillyTavern delays the entry, even a constant one, until a message, entry, outlet or event."""
    events = data.get("triggers")
    return (
        _number(data.get("delay")) > 0
        or _number(data.get("delay_until_recursion")) > 0
        or _number(data.get("position")) == _OUTLET
        or (isinstance(events, list) and bool(events) and "normal" not in events)
    )


def _select(entries: list[_Entry]) -> Iterator[_Entry]:
    """A reproducible selection of the entries by their probability, and one entry per group."""
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        if entry.chance < 100 and not seeded(entry.text).random() * 100 < entry.chance:
            continue
        if entry.group:
            groups.setdefault(entry.group, []).append(entry)
        else:
            yield entry
    for members in groups.values():
        weights = [max(1.0, _number(entry.data.get("group_weight", 100))) for entry in members]
        (chosen,) = seeded("".join(entry.text for entry in members)).choices(members, weights)
        first = [entry for entry in members if _flag(entry.data.get("group_override"))]
        yield max(first, key=lambda entry: entry.order, default=chosen)


def _split(content: str) -> tuple[str, dict[str, str]]:
    """Text and decorators; of a decorator and its fallbacks (@@@) the first supported one is used."""
    lines: list[str] = []
    found: dict[str, str] = {}
    found_supported = False
    for line in content.replace("\r\n", "\n").split("\n"):
        match = _DECORATOR.fullmatch(line)
        if match is None:
            lines.append(line)
            continue
        fallback, name, value = match.groups()
        if fallback and found_supported:
            continue
        found_supported = name in _SUPPORTED
        if found_supported or name in _DEPTHS:
            found.setdefault(name, (value or "").strip())
    return "\n".join(lines).strip(), found


def _snake_case(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in snake_case; SillyTavern uses camelCase in its own books and snake_case in cards."""
    return {_HUMP.sub("_", key).lower(): value for key, value in fields.items()}


def _flag(value: Any) -> bool:
    """A boolean field as written by various programs."""
    return value.strip().lower() in ("true", "1") if isinstance(value, str) else value == 1


def _number(value: Any) -> float:
    """A number or numeric text; 0 for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0
