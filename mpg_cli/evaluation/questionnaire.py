"""Questionnaires: items whose options stand for poles, and their prompts. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Readout = Literal["text", "letter"]

DIMENSIONS = ("EI", "SN", "TF", "JP")
LETTERS = "ABCDEFG"

AGREEMENT = {  # with a statement, by the number of points
    5: (
        ("strongly disagree", -1.0),
        ("disagree", -0.5),
        ("neither agree nor disagree", 0.0),
        ("agree", 0.5),
        ("strongly agree", 1.0),
    ),
    7: (
        ("strongly disagree", -1.0),
        ("disagree", -2 / 3),
        ("slightly disagree", -1 / 3),
        ("neither agree nor disagree", 0.0),
        ("slightly agree", 1 / 3),
        ("agree", 2 / 3),
        ("strongly agree", 1.0),
    ),
}
_RATHER = "would you rather"


@dataclass(frozen=True)
class Option:
    """A possible answer; `value` is 1 for the first pole of the dimension and -1 for the second."""

    text: str
    value: float


@dataclass(frozen=True)
class Item:
    """A question (or a statement to agree with) on one dimension, and its options in the file's order."""

    dimension: str
    text: str
    options: tuple[Option, ...]
    statement: bool = False


@dataclass(frozen=True)
class ItemPrompt:
    """An item as a prompt: the user's turn, the opening of the reply, and the possible continuations.

    `options[k]` is the continuation for option k of the item, in whatever order the question names them.
    """

    prompt: str
    opening: str
    options: tuple[str, ...]


def item_prompt(item: Item, readout: Readout, *, swapped: bool) -> ItemPrompt:
    """The prompt of an item, naming its options in the file's order, or `swapped` in reverse.

    `text`: the options themselves are the replies. `letter`: the question names them by letters, and the
    letters are the replies.
    """
    places = range(len(item.options))
    order = list(reversed(places)) if swapped else list(places)
    named = [item.options[k].text for k in order]
    if readout == "letter":
        listed = [f"{letter}: {text}" for letter, text in zip(LETTERS, named, strict=False)]
        letters = LETTERS[: len(named)]
        ask = f"Answer with one letter, {', '.join(letters[:-1])} or {letters[-1]}."
        return ItemPrompt(
            "\n".join([_stem(item), *listed, ask]), "", tuple(letters[order.index(k)] for k in places)
        )
    texts = tuple(option.text for option in item.options)
    if item.statement:
        return ItemPrompt(f"{_stem(item)}\nAnswer with one of: I {', I '.join(named)}.", "I", texts)
    if not item.text.endswith(("…", "...")):  # a whole question
        listed = [f"- {text}" for text in named]
        return ItemPrompt("\n".join([item.text, *listed, "Answer with one of these."]), "", texts)
    stem = item.text.rstrip(" .…")
    rather = stem.lower().endswith(_RATHER)
    return ItemPrompt(f"{stem} {named[0]} or {named[1]}?", "I would rather" if rather else "", texts)


def _stem(item: Item) -> str:
    return f"How far do you agree? “{item.text}”" if item.statement else item.text


def counts(items: Sequence[Item]) -> dict[str, int]:
    """The number of items of each dimension that has any."""
    found = {dimension: sum(item.dimension == dimension for item in items) for dimension in DIMENSIONS}
    return {dimension: count for dimension, count in found.items() if count}
