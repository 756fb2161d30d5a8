"""Data that is no character: what it is, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.safe_yaml import kind_of
from mpg_cli.io.text import visible
from mpg_cli.personas.importing.characters import TEXTS

WHAT = (
    f"a character is a JSON or YAML object with name and {', '.join(TEXTS)}, or the like of Pygmalion "
    "(char_name, char_persona) or text-generation-webui (name, context); or a PNG or .charx file with one"
)


@dataclass(frozen=True)
class _Kind:
    """`mark` is a key that only this kind has."""

    mark: str
    what: str
    hint: str


_KINDS = (
    _Kind(
        "gamestarted",
        "a saved story of KoboldAI, not a character",
        "if its memory describes one, make a persona of that: mpg personas new NAME --prompt '…'",
    ),
    _Kind(
        "scenarioVersion",
        "a scenario of NovelAI, not a character",
        "if its context describes one, make a persona of that: mpg personas new NAME --prompt '…'",
    ),
    _Kind("chat_metadata", "a chat of SillyTavern, not a character", "import the card of its character"),
    _Kind("entries", "a lorebook, not a character", "import the card that it belongs to or is part of"),
)


def known_kind(document: Mapping[str, Any], where: str) -> UsageError | None:
    """The error for an object of a kind that is known; None for others."""
    data = document.get("data")
    keys = {*document, *(data if isinstance(data, dict) else ())}
    found = (kind for kind in _KINDS if kind.mark in keys)
    return next((UsageError(f"{where}: {kind.what}", hint=kind.hint) for kind in found), None)


def refusal(document: Mapping[str, Any], where: str) -> UsageError:
    """The error for an object in which no character was found."""
    if known := known_kind(document, where):
        return known
    spec = document.get("spec")
    if spec is None:
        keys = visible(", ".join(map(str, document)), 100) or "none"
        told = f"no spec, name and description; its keys: {keys}"
    else:
        told = f"its spec is '{visible(str(spec), 60)}', and its data {kind_of(document.get('data'))}"
    return UsageError(f"{where}: not a character card: {told}", hint=WHAT)
