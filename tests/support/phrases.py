"""Words and phrases of a text, for checks that data repeat themselves little."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


def phrases(text: str, n: int) -> set[tuple[str, ...]]:
    """The phrases of n words."""
    own = words(text)
    return {tuple(own[at : at + n]) for at in range(len(own) - n + 1)}
