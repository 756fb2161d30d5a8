"""Reads questionnaires from files: our own items, and those of lists that others published. Torch-free.

A file is a list of items, a mapping with the list under `items` or `questions`, or numbered items
{"1": {…}, "2": {…}}. An item is one of

{question, A: {text, pole}, B: {text, pole}}
{question, A: pole, B: pole}                    the options are in the question, on lines “A. …” and “B. …”
{question, optionA, optionB, A: pole, B: pole}
{statement, dimension, pole}                    to agree with; other names are in TEXTS and KEYS
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.evaluation.questionnaire import AGREEMENT, DIMENSIONS, Item, Option
from mpg_cli.io import safe_yaml
from mpg_cli.io.file_kinds import check_text_file
from mpg_cli.io.safe_yaml import Document, KeyPath, kind_of
from mpg_cli.io.text import did_you_mean, visible

MIN_ITEMS = 4  # per dimension, for a meaningful interval
BUILT_IN = DATA / "questionnaire.json"
POLES = "".join(DIMENSIONS)

TEXTS = ("statement", "text", "question", "origin_en")  # of a statement
KEYS = ("pole", "direction", "category", "scale", "reverse")  # which pole agreement counts for
SIGNS = {"1": 1, "+1": 1, "+": 1, "positive": 1, "-1": -1, "-": -1, "negative": -1}
CHOICE = ("A", "B", "optionA", "optionB")
UNREAD = ("id", "no", "origin_zh", "rewritten_en", "rewritten_zh")  # of published items
BESIDE = {frozenset("AT")}  # dimensions of others, which no pole of ours stands for

_OPTION = re.compile(r"^[ \t]*(?:\(([A-D])\)|([A-D])[.:)．：）、])", re.MULTILINE)
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_CONTAINERS = ("items", "questions")
_SHAPE = "must be a list, or a mapping with `items`, `questions` or numbers as keys"


class _LeftOut(Exception):
    """An item that is well formed, on something that is none of the dimensions."""


def read_items(
    file: Path = BUILT_IN, notice: Callable[[str], None] = lambda message: None
) -> tuple[Item, ...]:
    """The items of a JSON or YAML file, in the file's order.

    `notice` gets a message on published items that are none of our dimensions, which are left out. Raises
    UsageError naming file, line and key.
    """
    document = _document(file)
    found: list[Item] = []
    left: list[str] = []
    for path, data in _entries(document):
        try:
            found.append(_item(document, path, data))
        except _LeftOut as reason:
            left.append(f"{document.where(path)}: left out, {reason}")
    if left:
        notice(left[0] + (f"; and {len(left) - 1} more items" if left[1:] else ""))
    if not found:
        raise UsageError(f"{visible(str(file))}: no item is of a dimension {', '.join(DIMENSIONS)}")
    for dimension in DIMENSIONS:
        count = sum(item.dimension == dimension for item in found)
        if 0 < count < MIN_ITEMS:
            message = f"{dimension} has {count} items, at least {MIN_ITEMS} are needed"
            raise UsageError(f"{visible(str(file))}: {message}")
    return tuple(found)


def _document(file: Path) -> Document:
    """The file as one mapping; JSON is YAML, and a list alone gets its key here."""
    name = visible(str(file))
    try:
        raw = file.expanduser().read_bytes()
    except OSError as problem:
        raise UsageError(f"--items {name} cannot be read: {problem.strerror}") from None
    if len(raw) > safe_yaml.MAX_BYTES:
        raise UsageError(f"{name}: larger than {safe_yaml.MAX_BYTES >> 20} MiB")
    check_text_file(raw[:1024], f"--items {name}", name, into=f"new-{file.name}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 text") from None
    documents = safe_yaml.parse(_as_yaml(text), file, error=UsageError)
    if len(documents) != 1:
        raise UsageError(f"{name} {'holds several documents' if documents else 'is empty'}; it {_SHAPE}")
    return documents[0]


def _as_yaml(text: str) -> str:
    """The text of a JSON file for a YAML parser; that of a YAML file is left as it is."""
    text = text.replace("\t", "  ")  # indents JSON, but no YAML
    text = text.replace(r"\r\n", r"\n")
    text = _SURROGATES.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), text)
    return f'{{"items": {text}\n}}' if text.lstrip().startswith("[") else text


def _entries(document: Document) -> list[tuple[KeyPath, Any]]:
    """The items with their places. What a published file has beside its `questions` is not read."""
    data = document.data
    container = next((key for key in _CONTAINERS if key in data), None)
    if container is None:
        return _numbered(document, (), data)
    if container == "items" and (unknown := next((key for key in data if key != "items"), None)):
        _fail(document, (unknown,), _SHAPE)
    items = data[container]
    if isinstance(items, dict):
        return _numbered(document, (container,), items)
    if not isinstance(items, list) or not items:
        _fail(document, (container,), "must be a list of items")
    return [((container, place), item) for place, item in enumerate(items)]


def _numbered(document: Document, path: KeyPath, data: Mapping[str, Any]) -> list[tuple[KeyPath, Any]]:
    others = [key for key in data if not key.isdecimal()]
    if others or not data:
        _fail(document, (*path, *others[:1]), _SHAPE)
    return [((*path, number), item) for number, item in data.items()]


def _item(document: Document, path: KeyPath, data: Any) -> Item:
    if not isinstance(data, dict):
        _fail(document, path, f"must be an item, not {kind_of(data)}")
    if any(key in data for key in CHOICE) or data.keys() <= {"question", *UNREAD}:
        return _choice(document, path, data)
    return _statement(document, path, data)


def _choice(document: Document, path: KeyPath, data: Mapping[str, Any]) -> Item:
    wanted = ("question", "A", "B")
    _check_keys(document, path, data, ("question", *CHOICE, "dimension"))
    for key in wanted:
        if key not in data:
            _fail(document, path, f"{key} is missing; a question needs {', '.join(wanted)}")
    text = _text(document, (*path, "question"), data["question"])
    own = any(isinstance(data[side], dict) for side in "AB")
    if own:
        sides = [_side(document, (*path, side), data[side]) for side in "AB"]
    else:
        must = "must be {text, pole}, or one of"
        poles = [_pole(document, (*path, side), data[side], must) for side in "AB"]
        text, texts = _published(document, path, data, text)
        sides = list(zip(texts, poles, strict=True))
    poles = [pole for _, pole in sides]
    dimension = next((known for known in DIMENSIONS if set(poles) == set(known)), "")
    if not dimension:
        found = f"A and B stand for {' and '.join(poles)}"
        if not own:
            raise _LeftOut(f"as {found}, which are no dimension")
        _fail(document, (*path, "B", "pole"), f"{found}, they must be the two poles of a dimension")
    if "dimension" in data and _dimension(document, (*path, "dimension"), data["dimension"])[0] != dimension:
        _fail(document, (*path, "dimension"), f"must be {dimension}, the dimension of the poles of A and B")
    options = tuple(Option(words, 1.0 if pole == dimension[0] else -1.0) for words, pole in sides)
    return Item(dimension, text, options)


def _side(document: Document, path: KeyPath, data: Any) -> tuple[str, str]:
    """Text and pole of an option of our own."""
    if not isinstance(data, dict) or data.keys() != {"text", "pole"}:
        _fail(document, path, "must be {text, pole}")
    return _text(document, (*path, "text"), data["text"]), _pole(document, (*path, "pole"), data["pole"])


def _published(
    document: Document, path: KeyPath, data: Mapping[str, Any], question: str
) -> tuple[str, list[str]]:
    """The question and the texts of A and B, which stand beside it or in it."""
    if any(key in data for key in ("optionA", "optionB")):
        for key in ("optionA", "optionB"):
            if key not in data:
                _fail(document, path, f"{key} is missing")
        texts = [_text(document, (*path, key), data[key]) for key in ("optionA", "optionB")]
        return _stem(question), [_option(text) for text in texts]
    question = question.replace(r"\n", "\n")  # some files escape line ends twice
    marks = list(_OPTION.finditer(question))
    letters = [mark[1] or mark[2] for mark in marks]
    where = (*path, "question")
    if letters != ["A", "B"]:
        found = f"options {', '.join(letters)}" if letters else "no options"
        _fail(document, where, f"must have option A and then B, on lines “A. …” and “B. …”; it has {found}")
    ends = [*(mark.start() for mark in marks[1:]), len(question)]
    texts = [_option(question[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    for letter, text in zip(letters, texts, strict=True):
        if not text:
            _fail(document, where, f"option {letter} has no text")
    return _stem(question[: marks[0].start()]), texts


def _stem(text: str) -> str:
    """A published question, which may be the beginning of a sentence or nothing at all."""
    stem = " ".join(text.split()).rstrip(" .…:：,")
    if not stem:
        return "Which is more like you?"
    return stem if stem.endswith(("?", "？", "!")) else f"{stem}:"


def _option(text: str) -> str:
    """A published option without line ends, “, or” before the next one, and a full stop."""
    return re.sub(r"[,;]? or$", "", " ".join(text.split())).rstrip(" .,;。")


def _statement(document: Document, path: KeyPath, data: Mapping[str, Any]) -> Item:
    key = next((key for key in TEXTS if key in data), "statement")
    _check_keys(document, path, data, (key, "dimension", *KEYS))
    for needed in (key, "dimension"):
        if needed not in data:
            _fail(document, path, f"{needed} is missing; a statement needs {key}, dimension, pole")
    text = _text(document, (*path, key), data[key])
    dimension, letters = _dimension(document, (*path, "dimension"), data["dimension"])
    points, poles = 5, {}
    for name in KEYS:
        value = data.get(name)
        if name == "scale" and isinstance(value, int) and value in AGREEMENT:
            points = value
        elif name in data:
            poles[name] = _counts_for(document, (*path, name), value, letters)
    if not poles:
        _fail(document, path, f"pole is missing: which of {' and '.join(letters)} agreement counts for")
    first, *others = poles
    for name in others:
        if poles[name] != poles[first]:
            _fail(document, (*path, name), f"means {poles[name]}, but {first} means {poles[first]}")
    sign = 1.0 if poles[first] == dimension[0] else -1.0
    options = tuple(Option(words, sign * value) for words, value in AGREEMENT[points])
    return Item(dimension, text, options, statement=True)


def _counts_for(document: Document, path: KeyPath, value: Any, letters: str) -> str:
    """The pole that agreement counts for: a letter, or a sign, positive for the first of `letters`."""
    first, second = letters[0], letters[1]
    if path[-1] == "reverse":
        if not isinstance(value, bool):
            _fail(document, path, f"must be true or false, not {visible(str(value), 60)}")
        return second if value else first
    spelled = "" if isinstance(value, bool) else str(value).strip()
    sign = SIGNS.get(spelled.lower())
    if sign is not None:
        return first if sign > 0 else second
    pole = spelled.upper()
    if pole in (first, second):
        return pole
    if len(pole) == 1 and pole in POLES:
        _fail(document, path, f"{pole} is not a pole of {letters}")
    points = f"{' or '.join(map(str, AGREEMENT))} points, " if path[-1] == "scale" else ""
    accepted = f"{points}{first} or {second}, 1 or -1, + or -, positive or negative"
    _fail(document, path, f"must be {accepted}, not {visible(str(value), 60)}")


def _check_keys(document: Document, path: KeyPath, data: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in (*known, *UNREAD):
            close = did_you_mean(key, known, 1) or f" (choose from {', '.join(known)})"
            _fail(document, (*path, key), f"unknown key{close}")


def _text(document: Document, path: KeyPath, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail(document, path, f"must be text, not {kind_of(value)}")
    return value.strip()


def _pole(document: Document, path: KeyPath, value: Any, must: str = "must be one of") -> str:
    pole = value.strip().upper() if isinstance(value, str) else ""
    if len(pole) != 1 or pole not in POLES:
        _fail(document, path, f"{must} {', '.join(POLES)}, not {visible(str(value), 60)}")
    return pole


def _dimension(document: Document, path: KeyPath, value: Any) -> tuple[str, str]:
    """The dimension, and its letters in the order of the file: JP and PJ for “P/J”."""
    letters = re.sub(r"[\s/_-]", "", value).upper() if isinstance(value, str) else ""
    dimension = next((known for known in DIMENSIONS if sorted(known) == sorted(letters)), "")
    if not dimension:
        if frozenset(letters) in BESIDE:
            raise _LeftOut(f"as {letters} is none of {', '.join(DIMENSIONS)}")
        accepted = f"{', '.join(DIMENSIONS)}, also as {'/'.join(DIMENSIONS[0])}"
        _fail(document, path, f"must be one of {accepted}, not {visible(str(value), 60)}")
    return dimension, letters


def _fail(document: Document, path: KeyPath, message: str) -> NoReturn:
    raise UsageError(f"{document.where(path)}: {message}")
