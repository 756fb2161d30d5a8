"""Characters in formats other than Character Card V2 and V3, mapped to the field names of a card.

Card V1 (TavernAI) has the fields at the top level. Pygmalion, text-generation-webui, Agnai, Character.AI and
Backyard use other names for them.
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
    """The format of a character, and its fields by a card's field names."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class _Format:
    """`marks` are keys that identify the format; `fields` maps its field names to a card's."""

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
    """The character in `document` or in a wrapper key of it; None if there is none."""
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
    # Many files have a name and a description; without a name two texts of a character are required.
    needed = 1 if isinstance(data.get("name"), (str, int)) else 2
    return Character(kind, data) if sum(key in data for key in TEXTS) >= needed else None


def _attributes(persona: Mapping[str, Any]) -> str:
    """Agnai's persona as text: free text, or attributes with lists of words."""
    attributes = persona.get("attributes")
    lines: list[str] = []
    for name, words in attributes.items() if isinstance(attributes, dict) else ():
        text = ", ".join(word for word in words if isinstance(word, str)) if isinstance(words, list) else ""
        if text:
            lines.append(text if persona.get("kind") == "text" else f"{name}: {text}")
    return "\n".join(lines)
