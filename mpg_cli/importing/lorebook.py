"""A card's lorebook: which entries are always in the prompt, and where.

Entries that wait for key words of a conversation are for chat programs; a persona's prompt is fixed. So only
constant entries count, and those that a decorator activates (Character Card V3, "Decorators").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.personas.safe_yaml import kind_of

BEFORE, AFTER = "before_char", "after_char"

_DECORATOR = re.compile(r"\s*@@(@?)([A-Za-z_]+)(?:[ \t]+(.*))?")
_POSITIONS = {"before_desc": BEFORE, "after_desc": AFTER, "personality": AFTER, "scenario": AFTER}
# Those that this program acts upon. The others are about the state of a chat, and are left out of the text.
_KNOWN = ("activate", "dont_activate", "activate_only_after", "additional_keys", "is_greeting", "position")


@dataclass(frozen=True)
class Book:
    """Texts that belong before and after the description, in order, and how many entries do not count."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    waiting: int = 0  # enabled, but they wait for key words or for a point in the conversation


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
    placed: list[tuple[float, int, str, str]] = []
    waiting = 0
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            found = kind_of(entry)
            raise UsageError(f"{where}: entry {index + 1} of the card's lorebook is {found}, not a mapping")
        content = entry.get("content")
        if entry.get("enabled", True) is not True or not isinstance(content, str):
            continue
        text, decorators = _split(content)
        if not text:
            continue
        if not _always(entry, decorators):
            waiting += "dont_activate" not in decorators
            continue
        side = _POSITIONS.get(decorators.get("position", ""), entry.get("position"))
        placed.append((_order(entry), index, BEFORE if side == BEFORE else AFTER, text))
    placed.sort()
    before = tuple(text for _, _, side, text in placed if side == BEFORE)
    after = tuple(text for _, _, side, text in placed if side == AFTER)
    return Book(before, after, waiting)


def _always(entry: Mapping[str, Any], decorators: Mapping[str, str]) -> bool:
    """Whether the entry is in the prompt before anything was said."""
    if "activate" in decorators:
        return True
    if "dont_activate" in decorators or "additional_keys" in decorators:
        return False
    if _number(decorators.get("activate_only_after")) > 0 or _number(decorators.get("is_greeting")) > 0:
        return False
    return entry.get("constant") is True and entry.get("use_regex") is not True


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
        if settled:
            found.setdefault(name, (value or "").strip())
    return "\n".join(lines).strip(), found


def _order(entry: Mapping[str, Any]) -> float:
    order = entry.get("insertion_order")
    return float(order) if isinstance(order, (int, float)) and not isinstance(order, bool) else 0.0


def _number(value: str | None) -> float:
    try:
        number = float(value or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0
