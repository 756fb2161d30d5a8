"""Converts a character card to a persona: the prompt by the card specifications, other fields kept.

The prompt consists of system_prompt, description, personality, scenario, constant entries of the lorebook,
mes_example, first_mes, the Character's Note (extensions.depth_prompt) and post_history_instructions. It never
includes creator_notes, tags, creator, character_version, names and comments of lorebooks, assets and dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mpg_cli.errors import UsageError
from mpg_cli.personas.importing.card import MAX_NAME, Card
from mpg_cli.personas.importing.draft import Draft
from mpg_cli.personas.importing.lorebook import Book, read_book
from mpg_cli.personas.importing.macros import Macros
from mpg_cli.personas.importing.plain import paragraphs
from mpg_cli.personas.importing.sanitize import one_line, without_controls

# For cards without a system_prompt, and for {{original}} in a card's system_prompt.
FALLBACK = "You are {{char}}. Reply as {{char}} would, and stay in character."
USER = "User"  # the value of {{user}} without --user and a name in the card

# Separates example conversations; Character.AI uses END_OF_DIALOG.
_START = re.compile(r"(?:<|&lt;)\s*START\s*(?:>|&gt;)|END_OF_DIALOG", re.IGNORECASE)
# SillyTavern's macros for texts of the card, in lower case, with the card's keys.
_OWN = {
    "description": "description",
    "chardescription": "description",
    "personality": "personality",
    "charpersonality": "personality",
    "scenario": "scenario",
    "charscenario": "scenario",
    "mesexamples": "mes_example",
    "mesexamplesraw": "mes_example",
    "charfirstmessage": "first_mes",
    "charprompt": "system_prompt",
    "charinstruction": "post_history_instructions",
    "charjailbreak": "post_history_instructions",
}
_MAX_DESCRIPTION = 160
_MAX_NOTES = 500
_SHOWN = 5  # macros listed in a notice


def draft_of_card(card: Card, file: str, user: str | None = None, name: str | None = None) -> Draft:
    """The persona of a card from `file`.

    `user` is the value of {{user}}, `name` the name for a card without one. Raises UsageError.
    """
    char = card.char or name
    if not char:
        raise UsageError(f"{card.where}: the card has no name", hint="choose one with --name")
    user = user or one_line(card.text("your_name"), MAX_NAME) or USER
    book = read_book(card.data.get("character_book"), card.where)
    own = {macro: _joined(card.text(key)) for macro, key in _OWN.items()}
    own |= {"chardepthprompt": _note(card), "persona": ""}  # persona: the user's description
    macros = Macros(char, user, card.where, fields=own)
    prompt = _prompt(card, book, macros)
    if not prompt:
        raise UsageError(f"{card.where}: the card has no text for a prompt")
    notes = _read(_notes(card), char, user)
    texts = (notes, *(_read(card.text(key), char, user) for key in ("personality", "description")))
    return Draft(
        title=card.name or char,
        prompt=prompt,
        description=_description(card, next((text[0] for text in texts if text), "")),
        tags=tuple(dict.fromkeys(filter(None, (one_line(tag, 64) for tag in card.texts("tags"))))),
        source=_source(card, file),
        extensions={"character_card": card.raw},
        notices=(*card.notices, *_notices(card, book, macros, notes)),
    )


def _prompt(card: Card, book: Book, macros: Macros) -> str:
    """The system text: the parts with macros replaced, without empty parts."""

    def text(raw: str) -> str:
        return macros.expand(_joined(raw)).strip()

    def of(key: str) -> str:
        return text(card.text(key))

    char = macros.char
    macros.original = text(FALLBACK)
    system = text(card.text("system_prompt") or FALLBACK)
    macros.original = ""
    parts = [
        system,
        *map(text, book.before),
        of("description"),
        _titled(f"{char}'s personality:", of("personality")),
        _titled("Scenario:", of("scenario")),
        *map(text, book.after),
        *(_titled("An example conversation:", text(talk)) for talk in _START.split(card.text("mes_example"))),
        _titled(f"{char} begins a conversation like this:", of("first_mes")),
        text(_note(card)),
        of("post_history_instructions"),
    ]
    return "\n\n".join(part for part in (without_controls(part).strip() for part in parts) if part)


def _joined(raw: str) -> str:
    """Example conversations joined by empty lines in place of the separators."""
    return "\n\n".join(part.strip() for part in _START.split(raw)).strip()


def _note(card: Card) -> str:
    """The Character's Note, which SillyTavern inserts among the last messages."""
    extensions = card.data.get("extensions")
    note = extensions.get("depth_prompt") if isinstance(extensions, dict) else None
    prompt = note.get("prompt") if isinstance(note, dict) else note
    return prompt.strip() if isinstance(prompt, str) else ""


def _titled(title: str, text: str) -> str:
    if not text:
        return ""
    return f"{title}\n{text}" if "\n" in text else f"{title} {text}"


def _notes(card: Card) -> str:
    """The creator's notes, which are for the user, not the model."""
    languages = card.data.get("creator_notes_multilingual")
    if card.v3 and isinstance(languages, dict) and isinstance(languages.get("en"), str):
        return str(languages["en"]).strip()
    notes = card.data.get("creator_notes")
    return notes.strip() if isinstance(notes, str) else ""


def _read(text: str, char: str, user: str) -> list[str]:
    """The paragraphs of a text for display; none if its macros expand too far."""
    try:
        return paragraphs(Macros(char, user).expand(_joined(text)))
    except UsageError:
        return []


def _description(card: Card, text: str) -> str:
    """`text` in one line, preceded by the card's name if that is not a valid persona name."""
    title = one_line(card.name, 60)
    line = one_line(text, _MAX_DESCRIPTION)
    if title.isascii() or title in line:
        return line
    return f"{title}: {line}" if line else title


def _source(card: Card, file: str) -> str:
    parts = [f"{card.kind}, {file}"]
    for key, before in (("creator", "by "), ("character_version", "version ")):
        value = card.data.get(key)
        if isinstance(value, str) and value.strip():
            parts.append(before + one_line(value, 80))
    parts += [one_line(source, 200) for source in card.texts("source")[:5]]
    return ", ".join(parts)


def _notices(card: Card, book: Book, macros: Macros, notes: list[str]) -> Iterator[str]:
    if notes:
        yield f"the creator's notes: {one_line(' '.join(notes), _MAX_NOTES)}"
    if book.drawn:
        yield f"random lorebook entries were selected once for all replies: {book.drawn}"
    if book.waiting:
        yield f"lorebook entries skipped because they depend on key words or the chat: {book.waiting}"
    if book.deep:
        yield f"lorebook entries with a depth are in the prompt, not among the messages: {book.deep}"
    if card.text("post_history_instructions"):
        yield "post_history_instructions are at the end of the prompt, not after the conversation"
    if _note(card):
        yield "the Character's Note (depth_prompt) is near the end of the prompt, not among the messages"
    if linked := _linked_book(card):
        yield f"the linked lorebook '{linked}' is not in the file"
    greetings = len(card.texts("alternate_greetings")) + len(card.texts("group_only_greetings"))
    if greetings:
        yield f"alternate greetings left out of the prompt: {greetings}"
    if macros.settled:
        names = ", ".join("{{" + name + "}}" for name in macros.settled)
        yield f"{names} got a fixed value, because a persona's prompt does not change"
    if macros.unknown:
        shown = ", ".join(list(macros.unknown)[:_SHOWN])
        rest = len(macros.unknown) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        yield f"unknown macros left unchanged: {shown}{more}"


def _linked_book(card: Card) -> str:
    """The name of a SillyTavern lorebook linked by the card, if the card has no entries of its own."""
    extensions, book = card.data.get("extensions"), card.data.get("character_book")
    world = extensions.get("world") if isinstance(extensions, dict) else None
    inside = book.get("entries") if isinstance(book, dict) else book
    return one_line(world, 60) if isinstance(world, str) and not inside else ""
