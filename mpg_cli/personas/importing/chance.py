"""Random choices of chat programs made once: reproducible for the same text under any Python version."""

from __future__ import annotations

import hashlib
import random
import re

_ESCAPED_COMMA = re.compile(r"(?<!\\),")
_MAX_FORMULA = 60  # characters
_SIDES = re.compile(r"[0-9]{1,9}")
_TERM = re.compile(r"([+-]?)\s*(?:([0-9]{0,3})d([0-9]{1,9})|([0-9]{1,9}))\s*", re.IGNORECASE)


def seeded(text: str) -> random.Random:
    """A random generator seeded by the text."""
    return random.Random(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest())


def choices(listed: str) -> list[str]:
    """The choices of `a::b` or `a, b`, split as in SillyTavern."""
    if "::" in listed:
        return listed.split("::")
    return [value.strip().replace("\\,", ",") for value in _ESCAPED_COMMA.split(listed)]


def rolled(formula: str, source: random.Random) -> str | None:
    """The total of a dice formula such as `2d6+1`, `d20` or `6` (one die of 6 sides); None if invalid."""
    if len(formula) > _MAX_FORMULA:
        return None
    if _SIDES.fullmatch(formula):
        formula = f"d{formula}"
    total = at = 0
    while at < len(formula):
        term = _TERM.match(formula, at)
        if term is None or (at > 0 and not term.group(1)):
            return None
        sign, count, sides, number = term.groups()
        value = int(number or 0)
        if sides:
            value = sum(source.randint(1, max(1, int(sides))) for _ in range(int(count or 1)))
        total += -value if sign == "-" else value
        at = term.end()
    return str(total) if "d" in formula.lower() else None
