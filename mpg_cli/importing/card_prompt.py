"""A character card as a persona: its prompt by the rules of the specifications, and all else kept.

Into the prompt go system_prompt, description, personality, scenario, constant entries of the lorebook,
mes_example, first_mes and post_history_instructions. creator_notes, tags, creator, character_version, the
names and comments of the lorebook, assets and dates never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mpg_cli.errors import UsageError
from mpg_cli.importing.card import Card
from mpg_cli.importing.draft import Draft
from mpg_cli.importing.keep import one_line, without_controls
from mpg_cli.importing.lorebook import Book, read_book
from mpg_cli.importing.macros import Macros

# Where a card has no system_prompt of its own, and for {{original}} in one that has.
FALLBACK = "You are {{char}}. Reply as {{char}} would, and stay in character."
USER = "User"  # what {{user}} stands for unless --user says otherwise

_START = re.compile(r"^[ \t]*<START>[ \t]*$", re.IGNORECASE | re.MULTILINE)
_MAX_DESCRIPTION = 160
_MAX_NOTES = 500


def draft_of_card(card: Card, file: str, user: str = USER) -> Draft:
    """The persona of a card that came from `file`; `user` is what {{user}} becomes. Raises UsageError."""
    book = read_book(card.data.get("character_book"), card.where)
    macros = Macros(card.char, user)
    try:
        prompt = _prompt(card, book, macros)
    except UsageError as error:
        raise UsageError(f"{card.where}: {error.message}") from None
    notes = _notes(card)
    if not prompt:
        raise UsageError(f"{card.where}: the card has no text for a prompt")
    return Draft(
        title=card.name,
        prompt=prompt,
        description=_description(card, notes, macros),
        tags=tuple(dict.fromkeys(filter(None, (one_line(tag, 64) for tag in card.texts("tags"))))),
        source=_source(card, file),
        extensions={"character_card": card.raw},
        notices=(*card.notices, *_notices(card, book, macros, notes)),
    )


def _prompt(card: Card, book: Book, macros: Macros) -> str:
    """The system text; every part with its macros replaced, empty parts left out."""
    macros.original = macros.expand(FALLBACK)
    system = macros.expand(card.text("system_prompt") or FALLBACK)
    macros.original = ""
    closing = macros.expand(card.text("post_history_instructions"))
    char = macros.char
    parts = [
        system,
        *map(macros.expand, book.before),
        macros.expand(card.text("description")),
        _titled(f"{char}'s personality:", macros.expand(card.text("personality"))),
        _titled("Scenario:", macros.expand(card.text("scenario"))),
        *map(macros.expand, book.after),
        *_examples(card, macros),
        _titled(f"{char} begins a conversation like this:", macros.expand(card.text("first_mes"))),
        closing,
    ]
    return "\n\n".join(part for part in (without_controls(part).strip() for part in parts) if part)


def _examples(card: Card, macros: Macros) -> Iterator[str]:
    """The example conversations, which <START> separates."""
    for talk in _START.split(card.text("mes_example")):
        yield _titled("An example conversation:", macros.expand(talk).strip())


def _titled(title: str, text: str) -> str:
    if not text:
        return ""
    return f"{title}\n{text}" if "\n" in text else f"{title} {text}"


def _notes(card: Card) -> str:
    """The creator's notes: for the user, never for the model."""
    languages = card.data.get("creator_notes_multilingual")
    if card.version == 3 and isinstance(languages, dict) and isinstance(languages.get("en"), str):
        return str(languages["en"]).strip()
    notes = card.data.get("creator_notes")
    return notes.strip() if isinstance(notes, str) else ""


def _description(card: Card, notes: str, macros: Macros) -> str:
    """One line for lists of personas: the first paragraph of the notes, or of what the card says itself."""
    for text in (notes, card.text("personality"), card.text("description")):
        first = re.split(r"\n\s*\n", text.replace("\r\n", "\n"), maxsplit=1)[0]
        try:
            line = one_line(macros.expand(first[: 4 * _MAX_DESCRIPTION]), _MAX_DESCRIPTION)
        except UsageError:
            continue
        if line:
            return line
    return ""


def _source(card: Card, file: str) -> str:
    parts = [f"Character Card V{card.version}, {file}"]
    for key, before in (("creator", "by "), ("character_version", "version ")):
        value = card.data.get(key)
        if isinstance(value, str) and value.strip():
            parts.append(before + one_line(value, 80))
    parts += [one_line(source, 200) for source in card.texts("source")[:5]]
    return ", ".join(parts)


def _notices(card: Card, book: Book, macros: Macros, notes: str) -> Iterator[str]:
    if notes:
        yield f"the creator's notes: {one_line(notes, _MAX_NOTES)}"
    if book.waiting:
        yield f"lorebook entries that wait for key words, which mpg does not look for: {book.waiting}"
    if card.text("post_history_instructions"):
        yield "its post_history_instructions stand at the end of the prompt, not after the conversation"
    greetings = len(card.texts("alternate_greetings")) + len(card.texts("group_only_greetings"))
    if greetings:
        yield f"greetings beside the first one, which are not in the prompt: {greetings}"
    if macros.settled:
        names = ", ".join("{{" + name + "}}" for name in macros.settled)
        yield f"{names} got one value for good: a persona's prompt does not change"
    if macros.unknown:
        shown = ", ".join(list(macros.unknown)[:5])
        yield f"macros that are not part of the specification stay as they are: {shown}"
