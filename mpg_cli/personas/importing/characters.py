"""Characters that are no Character Card V2 or V3, by the names that the fields of a card have.

Card V1 (TavernAI) is the fields alone. Pygmalion, text-generation-webui, Agnai, Character.AI and Backyard
have names of their own for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXTS = ("description", "personality", "scenario", "first_mes", "mes_example")
_CARDS = ("Character Card V1", "Character Card V2")
_WRAPPERS = ("data", "character")


@dataclass(frozen=True)
class Character:
    """What kind of file it is, and its fields under the names that a card has for them."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class _Format:
    """`marks` are keys that tell the format; `fields` has its own names, and those of a card."""

    kind: str
    marks: frozenset[str]
    fields: Mapping[str, str]


_FORMATS = (
    _Format(
        "Pygmalion character",
        frozenset(("char_name", "char_persona", "char_greeting", "world_scenario")),
        {
            "char_name": "name",
            "char_persona": "description",
            "world_scenario": "scenario",
            "char_greeting": "first_mes",
            "example_dialogue": "mes_example",
        },
    ),
    _Format(
        "Agnai character",
        frozenset(("persona", "sampleChat")),
        {
            "persona": "description",
            "description": "creator_notes",
            "greeting": "first_mes",
            "sampleChat": "mes_example",
            "systemPrompt": "system_prompt",
            "postHistoryInstructions": "post_history_instructions",
            "characterBook": "character_book",
            "alternateGreetings": "alternate_greetings",
        },
    ),
    _Format(
        "Character.AI character",
        frozenset(("definition", "participant__name")),
        {"participant__name": "name", "greeting": "first_mes", "definition": "mes_example"},
    ),
    _Format(
        "Backyard character",
        frozenset(("aiName", "aiPersona")),
        {
            "aiName": "name",
            "aiDisplayName": "name",
            "basePrompt": "system_prompt",
            "aiPersona": "description",
            "customDialogue": "mes_example",
            "firstMessage": "first_mes",
            "authorNote": "post_history_instructions",
        },
    ),
    _Format(
        "text-generation-webui character",
        frozenset(("context", "greeting", "bot", "example_dialogue")),
        {
            "bot": "name",
            "context": "description",
            "greeting": "first_mes",
            "example_dialogue": "mes_example",
            "user": "your_name",
        },
    ),
)


def find_character(document: Mapping[str, Any]) -> Character | None:
    """The character that `document` is or wraps; None if it is none."""
    for wrapper in _WRAPPERS:
        inside = document.get(wrapper)
        if isinstance(inside, dict) and (found := _character(inside, wrapper == "data")):
            return found
    return _character(document, False)


def _character(document: Mapping[str, Any], wrapped: bool) -> Character | None:
    kind, data = _CARDS[wrapped], dict(document)
    for known in _FORMATS:
        if known.marks & document.keys():
            own = {field: document[key] for key, field in known.fields.items() if document.get(key)}
            rest = {key: document[key] for key in document if key not in known.fields and document[key]}
            kind, data = known.kind, {**own, **rest}
            break
    if isinstance(data.get("description"), dict):
        data["description"] = _attributes(data["description"])
    # A name and a description have many files; without a name it takes two texts of a character.
    needed = 1 if isinstance(data.get("name"), (str, int)) else 2
    return Character(kind, data) if sum(key in data for key in TEXTS) >= needed else None


def _attributes(persona: Mapping[str, Any]) -> str:
    """Agnai's persona: free text, or attributes with a list of words each."""
    attributes = persona.get("attributes")
    lines: list[str] = []
    for name, words in attributes.items() if isinstance(attributes, dict) else ():
        text = ", ".join(word for word in words if isinstance(word, str)) if isinstance(words, list) else ""
        if text:
            lines.append(text if persona.get("kind") == "text" else f"{name}: {text}")
    return "\n".join(lines)
