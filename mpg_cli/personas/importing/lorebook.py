"""A card's lorebook: which entries are always in the prompt, and where.

Entries that wait for key words of a conversation are for chat programs; a persona's prompt is fixed. So only
constant entries count, and those that a decorator activates (Character Card V3, "Decorators").

SillyTavern, which most cards come from, writes `use_regex: true` into every entry, and its own position,
probability and group into `extensions`; where it and the specification differ, its meaning counts.
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
from mpg_cli.personas.importing.chance import drawn

BEFORE, AFTER = "before_char", "after_char"

_DECORATOR = re.compile(r"\s*@@(@?)([A-Za-z_]+)(?:[ \t]+(.*))?")
_AT_DEPTH, _OUTLET = 4, 7  # SillyTavern's positions among the messages, and where a macro names an outlet
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_POSITIONS = {"before_desc": BEFORE, "after_desc": AFTER, "personality": AFTER, "scenario": AFTER}
# Those that this program acts upon. The others are about the state of a chat, and are left out of the text.
_KNOWN = ("activate", "dont_activate", "activate_only_after", "additional_keys", "is_greeting", "position")
_DEPTHS = frozenset(("depth", "instruct_depth", "reverse_depth", "reverse_instruct_depth"))


@dataclass(frozen=True)
class Book:
    """Texts that belong before and after the description, in order, and how many entries do not count."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    waiting: int = 0  # enabled, but they wait for key words, a point in the conversation or another entry
    deep: int = 0  # of those that are there, how many belong among the messages
    drawn: int = 0  # would be there by chance, each time anew; they are there or not for good


@dataclass(frozen=True)
class _Entry:
    """An entry that needs no key words. `data` has SillyTavern's fields beside the card's, in snake_case."""

    index: int
    data: Mapping[str, Any]
    text: str
    decorators: Mapping[str, str]

    @property
    def order(self) -> tuple[float, int]:
        return _number(self.data.get("insertion_order", self.data.get("order"))), self.index

    @property
    def before(self) -> bool:
        said = _POSITIONS.get(self.decorators.get("position", ""), self.data.get("position"))
        return str(said) in (BEFORE, "0")

    @property
    def deep(self) -> bool:
        """Whether it belongs among the messages, at a depth."""
        return _number(self.data.get("position")) == _AT_DEPTH or not _DEPTHS.isdisjoint(self.decorators)

    @property
    def chance(self) -> float:
        """Percent."""
        certain = self.data.get("use_probability") is False or self.data.get("probability") is None
        return 100.0 if certain else _number(self.data["probability"])

    @property
    def group(self) -> str:
        """One entry of a group is there; "" for none."""
        return str(self.data.get("group") or "")


def read_book(book: Any, where: str) -> Book:
    """The book of a card; None is an empty one. Raises UsageError for another type."""
    entries = book.get("entries") if isinstance(book, dict) else book
    if entries is None:
        return Book()
    if isinstance(entries, dict):  # by number, as SillyTavern keeps its own books
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
    there = sorted(_drawn(always), key=lambda entry: entry.order)
    return Book(
        before=tuple(entry.text for entry in there if entry.before),
        after=tuple(entry.text for entry in there if not entry.before),
        waiting=waiting,
        deep=sum(entry.deep for entry in there),
        drawn=sum(entry.chance < 100 or groups[entry.group] > 1 for entry in always),
    )


def _enabled(entry: Mapping[str, Any]) -> bool:
    enabled = entry.get("enabled")
    return (enabled is None or _flag(enabled)) and not _flag(entry.get("disable"))


def _always(data: Mapping[str, Any], decorators: Mapping[str, str]) -> bool:
    """Whether the entry is in the prompt before anything was said."""
    if _later(data):
        return False
    if "activate" in decorators:
        return True
    if "dont_activate" in decorators or "additional_keys" in decorators:
        return False
    if any(_number(decorators.get(name)) > 0 for name in ("activate_only_after", "is_greeting")):
        return False
    return _flag(data.get("constant"))


def _later(data: Mapping[str, Any]) -> bool:
    """Whether SillyTavern has it wait, constant or not: for messages, another entry, an outlet, an event."""
    events = data.get("triggers")
    return (
        _number(data.get("delay")) > 0
        or _number(data.get("delay_until_recursion")) > 0
        or _number(data.get("position")) == _OUTLET
        or (isinstance(events, list) and bool(events) and "normal" not in events)
    )


def _drawn(entries: list[_Entry]) -> Iterator[_Entry]:
    """The entries that are there: by their probability, and one of each group. The same ones each time."""
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        if entry.chance < 100 and not drawn(entry.text).random() * 100 < entry.chance:
            continue
        if entry.group:
            groups.setdefault(entry.group, []).append(entry)
        else:
            yield entry
    for members in groups.values():
        weights = [max(1.0, _number(entry.data.get("group_weight", 100))) for entry in members]
        (chosen,) = drawn("".join(entry.text for entry in members)).choices(members, weights)
        first = [entry for entry in members if _flag(entry.data.get("group_override"))]
        yield max(first, key=lambda entry: entry.order, default=chosen)


def _split(content: str) -> tuple[str, dict[str, str]]:
    """Text and decorators; of a decorator and its fallbacks (@@@) the first known one counts."""
    lines: list[str] = []
    found: dict[str, str] = {}
    settled = False
    for line in content.replace("\r\n", "\n").split("\n"):
        match = _DECORATOR.fullmatch(line)
        if match is None:
            lines.append(line)
            continue
        fallback, name, value = match.groups()
        if fallback and settled:
            continue
        settled = name in _KNOWN
        if settled or name in _DEPTHS:
            found.setdefault(name, (value or "").strip())
    return "\n".join(lines).strip(), found


def _snake_case(fields: Mapping[str, Any]) -> dict[str, Any]:
    """SillyTavern's own books have in camelCase what it writes into cards in snake_case."""
    return {_HUMP.sub("_", key).lower(): value for key, value in fields.items()}


def _flag(value: Any) -> bool:
    """Whether a switch is on, however a program spells it."""
    return value.strip().lower() in ("true", "1") if isinstance(value, str) else value == 1


def _number(value: Any) -> float:
    """A number, or text that is one; 0 for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0
