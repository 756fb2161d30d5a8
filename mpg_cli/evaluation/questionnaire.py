"""Questionnaires: items whose options stand for poles, read from a file, and their prompts. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import Document, KeyPath, kind_of
from mpg_cli.io.text import did_you_mean, visible

Readout = Literal["text", "letter"]

DIMENSIONS = ("EI", "SN", "TF", "JP")
MIN_ITEMS = 4  # per dimension, for a meaningful interval
BUILT_IN = DATA / "questionnaire.json"
LETTERS = "ABCDE"

_AGREEMENT = (
    ("strongly disagree", -1.0),
    ("disagree", -0.5),
    ("neither agree nor disagree", 0.0),
    ("agree", 0.5),
    ("strongly agree", 1.0),
)
_RATHER = "would you rather"
_KEYS = {"question": ("question", "A", "B"), "statement": ("statement", "dimension", "pole")}


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
    stem = item.text.rstrip(" .…")
    if stem == item.text.rstrip():  # a whole question
        return ItemPrompt(f"{item.text}\n{named[0]}, or {named[1]}?", "", texts)
    rather = stem.lower().endswith(_RATHER)
    return ItemPrompt(f"{stem} {named[0]} or {named[1]}?", "I would rather" if rather else "", texts)


def _stem(item: Item) -> str:
    return f"How far do you agree? “{item.text}”" if item.statement else item.text


def read_items(file: Path = BUILT_IN) -> tuple[Item, ...]:
    """The items of a JSON or YAML file: a list, or a mapping with the list under `items`.

    An item is {question, A: {text, pole}, B: {text, pole}} or {statement, dimension, pole}.
    Raises UsageError naming file, line and key.
    """
    document = _document(file)
    items = document.data["items"]
    if not isinstance(items, list) or not items:
        _fail(document, ("items",), "must be a list of items")
    found = tuple(_item(document, ("items", place), data) for place, data in enumerate(items))
    for dimension in DIMENSIONS:
        count = sum(item.dimension == dimension for item in found)
        if 0 < count < MIN_ITEMS:
            message = f"{dimension} has {count} items, at least {MIN_ITEMS} are needed"
            raise UsageError(f"{visible(str(file))}: {message}")
    return found


def _document(file: Path) -> Document:
    """The file as one mapping with `items`; JSON is YAML, and a list alone gets its key here."""
    try:
        raw = file.expanduser().read_bytes()
    except OSError as problem:
        raise UsageError(f"--items {visible(str(file))} cannot be read: {problem.strerror}") from None
    if len(raw) > safe_yaml.MAX_BYTES:
        raise UsageError(f"{visible(str(file))}: larger than {safe_yaml.MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise UsageError(f"{visible(str(file))}:{line}: not UTF-8 text") from None
    text = text.replace("\t", "  ")  # JSON may be indented by tabs, YAML not
    if text.lstrip().startswith("["):
        text = f'{{"items": {text}\n}}'
    documents = safe_yaml.parse(text, file, error=UsageError)
    if len(documents) != 1:
        raise UsageError(f"{visible(str(file))}: must be one list of items")
    document = documents[0]
    unknown = [key for key in document.data if key != "items"]
    if unknown or "items" not in document.data:
        _fail(document, (unknown[0],) if unknown else (), "must be a list, or a mapping with `items`")
    return document


def _item(document: Document, path: KeyPath, data: Any) -> Item:
    if not isinstance(data, dict):
        _fail(document, path, f"must be an item, not {kind_of(data)}")
    kind = "statement" if "statement" in data else "question"
    wanted = _KEYS[kind]
    for key in data:
        if key not in (*wanted, "dimension"):
            _fail(document, (*path, key), f"unknown key{did_you_mean(key, wanted, 1)}")
    for key in wanted:
        if key not in data:
            _fail(document, path, f"{key} is missing; a {kind} needs {', '.join(wanted)}")
    text = _text(document, (*path, kind), data[kind])
    if kind == "statement":
        dimension = _dimension(document, (*path, "dimension"), data["dimension"])
        pole = _pole(document, (*path, "pole"), data["pole"])
        if pole not in dimension:
            _fail(document, (*path, "pole"), f"{pole} is not a pole of {dimension}")
        sign = 1.0 if pole == dimension[0] else -1.0
        options = tuple(Option(words, sign * value) for words, value in _AGREEMENT)
        return Item(dimension, text, options, statement=True)
    sides = [_side(document, (*path, side), data[side]) for side in "AB"]
    poles = {pole for _, pole in sides}
    dimension = next((known for known in DIMENSIONS if poles == set(known)), "")
    if not dimension:
        found = " and ".join(pole for _, pole in sides)
        _fail(
            document,
            (*path, "B", "pole"),
            f"A and B stand for {found}, they must be the two poles of a dimension",
        )
    if data.get("dimension", dimension) != dimension:
        _fail(document, (*path, "dimension"), f"must be {dimension}, the dimension of the poles of A and B")
    return Item(
        dimension, text, tuple(Option(words, 1.0 if pole == dimension[0] else -1.0) for words, pole in sides)
    )


def _side(document: Document, path: KeyPath, data: Any) -> tuple[str, str]:
    """Text and pole of an option."""
    if not isinstance(data, dict) or data.keys() != {"text", "pole"}:
        _fail(document, path, "must be {text, pole}")
    return _text(document, (*path, "text"), data["text"]), _pole(document, (*path, "pole"), data["pole"])


def _text(document: Document, path: KeyPath, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail(document, path, f"must be text, not {kind_of(value)}")
    return str(value).strip()


def _pole(document: Document, path: KeyPath, value: Any) -> str:
    poles = "".join(DIMENSIONS)
    if not isinstance(value, str) or len(value) != 1 or value not in poles:
        _fail(document, path, f"must be one of {', '.join(poles)}, not {visible(str(value), 60)}")
    return str(value)


def _dimension(document: Document, path: KeyPath, value: Any) -> str:
    if value not in DIMENSIONS:
        _fail(document, path, f"must be one of {', '.join(DIMENSIONS)}, not {visible(str(value), 60)}")
    return str(value)


def _fail(document: Document, path: KeyPath, message: str) -> Any:
    raise UsageError(f"{document.where(path)}: {message}")


def counts(items: Sequence[Item]) -> dict[str, int]:
    """The number of items of each dimension that has any."""
    found = {dimension: sum(item.dimension == dimension for item in items) for dimension in DIMENSIONS}
    return {dimension: count for dimension, count in found.items() if count}
