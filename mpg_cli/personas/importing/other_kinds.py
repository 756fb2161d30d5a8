"""Errors for data that is not a character, by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.safe_yaml import kind_of
from mpg_cli.io.text import visible
from mpg_cli.personas.importing.characters import TEXTS

WHAT = (
    f"a character is a JSON or YAML object with name and {', '.join(TEXTS)}, or the fields of Pygmalion "
    "(char_name, char_persona) or text-generation-webui (name, context); or a PNG or .charx file with one"
)


@dataclass(frozen=True)
class _Kind:
    """`mark` is a key that identifies the kind."""

    mark: str
    what: str
    hint: str


_KINDS = (
    _Kind(
        "gamestarted",
        "a KoboldAI story, not a character",
        "if its memory describes one, create a persona from it: mpg personas new NAME --prompt '…'",
    ),
    _Kind(
        "scenarioVersion",
        "a NovelAI scenario, not a character",
        "if its context describes one, create a persona from it: mpg personas new NAME --prompt '…'",
    ),
    _Kind("chat_metadata", "a SillyTavern chat, not a character", "import the card of its character"),
    _Kind("entries", "a lorebook, not a character", "import the card that it belongs to"),
)


def known_kind(document: Mapping[str, Any], where: str) -> UsageError | None:
    """The error for an object of a known kind; None for others."""
    data = document.get("data")
    keys = {*document, *(data if isinstance(data, dict) else ())}
    found = (kind for kind in _KINDS if kind.mark in keys)
    return next((UsageError(f"{where}: {kind.what}", hint=kind.hint) for kind in found), None)


def refusal(document: Mapping[str, Any], where: str) -> UsageError:
    """The error for an object without a character."""
    if known := known_kind(document, where):
        return known
    spec = document.get("spec")
    if spec is None:
        keys = visible(", ".join(map(str, document)), 100) or "none"
        reason = f"it has no spec, name and description; its keys: {keys}"
    else:
        reason = f"its spec is '{visible(str(spec), 60)}' and its data {kind_of(document.get('data'))}"
    return UsageError(f"{where}: not a character card: {reason}", hint=WHAT)
