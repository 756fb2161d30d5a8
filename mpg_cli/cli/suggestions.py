"""What completes a word on the command line, before any parsing of it; loads nothing but the personas.

Nothing here fails: no suggestion is better than an error in the middle of a line. The shells evaluate some
of what they are given, so only harmless characters leave this file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Registry

Suggestion = tuple[str, str]  # a value, and what it is

_DONE = re.compile(
    r"(?:[A-Za-z0-9_+:. -]*\+)?[ ]*(?=[A-Za-z0-9_-]*$)"
)  # of an expression, its last + included
_UNSAFE = re.compile(r"[^\w ,.;()/-]")
_LONGEST = 70


def fitting(found: Callable[[], Iterable[Suggestion]], incomplete: str) -> list[Suggestion]:
    """Those that start as the word does, without regard to case; none if finding them fails."""
    try:
        suggestions = list(found())
    except Exception:
        return []
    size, start = len(incomplete), incomplete.lower()
    return [(incomplete + v[size:], _plain(h)) for v, h in suggestions if v.lower().startswith(start)]


def expressions(names: Callable[[], Iterable[Suggestion]], incomplete: str) -> Iterable[Suggestion]:
    """Persona names at the end of an expression: `INTJ:0.7+pi` to `INTJ:0.7+pirate`."""
    done = _DONE.match(incomplete)
    if done is None or re.search(r":\s*\+\s*$", done.group()):  # a sign, not the next term
        return []
    return [(done.group() + name, about) for name, about in names()]


def registry_of(folders: str | Sequence[str | Path]) -> Registry:
    """The personas of the folders that the line, the environment or the library name."""
    from mpg_cli.personas import registry

    named = [folders] if isinstance(folders, str) else list(folders)
    if not named:
        named = [name for name in os.environ.get("MPG_PERSONA_DIR", "").split(os.pathsep) if name]
    return registry.load_default([Path(os.path.expanduser(folder)) for folder in named])


def persona_names(folders: str | Sequence[str | Path] = ()) -> list[Suggestion]:
    """Names and descriptions of the personas in these folders."""
    return [(persona.name, persona.description) for persona in registry_of(folders).personas]


def _plain(text: str) -> str:
    """A description without anything that a shell or a terminal could take for its own."""
    return " ".join(_UNSAFE.sub("", text).split())[:_LONGEST]
