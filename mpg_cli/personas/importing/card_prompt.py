"""A character card as a persona: its prompt by the rules of the specifications, and all else kept.

Into the prompt go system_prompt, description, personality, scenario, constant entries of the lorebook,
mes_example, first_mes, the Character's Note (extensions.depth_prompt) and post_history_instructions.
creator_notes, tags, creator, character_version, names and comments of lorebooks, assets and dates never do.
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

# Where a card has no system_prompt of its own, and for {{original}} in one that has.
FALLBACK = "You are {{char}}. Reply as {{char}} would, and stay in character."
USER = "User"  # what {{user}} stands for unless --user or the card says otherwise

# Parts example conversations; END_OF_DIALOG does so in Character.AI's.
_START = re.compile(r"(?:<|&lt;)\s*START\s*(?:>|&gt;)|END_OF_DIALOG", re.IGNORECASE)
# SillyTavern's macros for texts of the card, in lower case, and the keys of these.
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
_SHOWN = 5  # macros that a notice names


def draft_of_card(card: Card, file: str, user: str | None = None, name: str | None = None) -> Draft:
    """The persona of a card that came from `file`.

    `user` is what {{user}} becomes, `name` what a card without a name is called. Raises UsageError.
    """
    char = card.char or name
    if not char:
        raise UsageError(f"{card.where}: the card has no name", hint="choose one with --name")
    user = user or one_line(card.text("your_name"), MAX_NAME) or USER
    book = read_book(card.data.get("character_book"), card.where)
    own = {macro: _parted(card.text(key)) for macro, key in _OWN.items()}
    own |= {"chardepthprompt": _note(card), "persona": ""}  # persona: what users say of themselves
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
    """The system text; every part with its macros replaced, empty parts left out."""

    def text(raw: str) -> str:
        return macros.expand(_parted(raw)).strip()

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


def _parted(raw: str) -> str:
    """Conversations one after another, without what parts them."""
    return "\n\n".join(part.strip() for part in _START.split(raw)).strip()


def _note(card: Card) -> str:
    """The Character's Note, which SillyTavern puts between the last messages."""
    extensions = card.data.get("extensions")
    note = extensions.get("depth_prompt") if isinstance(extensions, dict) else None
    prompt = note.get("prompt") if isinstance(note, dict) else note
    return prompt.strip() if isinstance(prompt, str) else ""


def _titled(title: str, text: str) -> str:
    if not text:
        return ""
    return f"{title}\n{text}" if "\n" in text else f"{title} {text}"


def _notes(card: Card) -> str:
    """The creator's notes: for the user, never for the model."""
    languages = card.data.get("creator_notes_multilingual")
    if card.v3 and isinstance(languages, dict) and isinstance(languages.get("en"), str):
        return str(languages["en"]).strip()
    notes = card.data.get("creator_notes")
    return notes.strip() if isinstance(notes, str) else ""


def _read(text: str, char: str, user: str) -> list[str]:
    """A text as users read it, in paragraphs; none where it grows without measure."""
    try:
        return paragraphs(Macros(char, user).expand(_parted(text)))
    except UsageError:
        return []


def _description(card: Card, said: str) -> str:
    """One line for lists of personas: `said`, after a name that the persona cannot have."""
    title = one_line(card.name, 60)
    line = one_line(said, _MAX_DESCRIPTION)
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
        yield f"lorebook entries that chance decides on were decided once for good: {book.drawn}"
    if book.waiting:
        yield f"lorebook entries that wait for key words or the like, which mpg does not seek: {book.waiting}"
    if book.deep:
        yield f"lorebook entries with a depth stand in the prompt, not among the messages: {book.deep}"
    if card.text("post_history_instructions"):
        yield "its post_history_instructions stand at the end of the prompt, not after the conversation"
    if _note(card):
        yield "its Character's Note (depth_prompt) stands near the end of the prompt, not among the messages"
    if linked := _linked_book(card):
        yield f"the lorebook '{linked}', which it names, is not in the file"
    greetings = len(card.texts("alternate_greetings")) + len(card.texts("group_only_greetings"))
    if greetings:
        yield f"greetings beside the first one, which are not in the prompt: {greetings}"
    if macros.settled:
        names = ", ".join("{{" + name + "}}" for name in macros.settled)
        yield f"{names} got one value for good: a persona's prompt does not change"
    if macros.unknown:
        shown = ", ".join(list(macros.unknown)[:_SHOWN])
        rest = len(macros.unknown) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        yield f"macros that are not part of the specification stay as they are: {shown}{more}"


def _linked_book(card: Card) -> str:
    """The name of SillyTavern's lorebook beside the card, where none of its entries came with it."""
    extensions, book = card.data.get("extensions"), card.data.get("character_book")
    world = extensions.get("world") if isinstance(extensions, dict) else None
    inside = book.get("entries") if isinstance(book, dict) else book
    return one_line(world, 60) if isinstance(world, str) and not inside else ""
