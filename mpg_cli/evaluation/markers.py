"""Markers: words and phrases that belong to one persona alone, and the rules by which a text shows it.

The markers of the bundled personas are package data; others come from a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import Document, KeyPath, kind_of

BUNDLED = DATA / "markers.yaml"
_KEYS = ("markers", "against", "share", "respell")


@dataclass(frozen=True)
class Marks:
    """The markers of a persona (regular expressions for lower-case text) and the rule of when it is shown.

    With `against`: if more sentences contain its markers than contain those of that persona. Otherwise if
    at least `share` of the sentences, and at least one, contain a marker. `respell` searches sentences
    with dialect spellings replaced.
    """

    markers: tuple[str, ...]
    against: str | None = None
    share: float = 0.0
    respell: bool = False


def marker_pattern(fragment: str) -> re.Pattern[str]:
    """A marker as a whole word or phrase of lower-case text."""
    return re.compile(rf"(?<![\w'])(?:{fragment})(?!\w)")


def sentences(text: str) -> list[str]:
    """The sentences of a text, without surrounding space."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part.strip()]


class Markers:
    """The markers of some personas; names are matched without regard to case."""

    def __init__(self, marks: Mapping[str, Marks], spelling: Iterable[tuple[str, str]] = ()) -> None:
        self.marks = dict(marks)
        self._names = {name.lower(): name for name in marks}
        self._patterns = {name: marker_pattern("|".join(own.markers)) for name, own in marks.items()}
        self._spelling = tuple((marker_pattern(old), new) for old, new in spelling)

    @property
    def content(self) -> tuple[object, ...]:
        """Everything the results depend on."""
        spelling = [(pattern.pattern, word) for pattern, word in self._spelling]
        return sorted(self.marks.items(), key=lambda own: own[0]), spelling

    def has(self, persona: str) -> bool:
        return persona.lower() in self._names

    def respelled(self, sentence: str) -> str:
        """The sentence in lower case, with dialect spellings replaced."""
        sentence = sentence.lower()
        for pattern, word in self._spelling:
            sentence = pattern.sub(word, sentence)
        return sentence

    def share(self, text: str, persona: str) -> float:
        """The share of sentences that contain a marker of the persona."""
        found, lines = self._counts(text, [self._names[persona.lower()]])
        return sum(found.values()) / lines if lines else 0.0

    def shows(self, text: str, persona: str) -> bool:
        """Whether the text shows the persona."""
        name = self._names[persona.lower()]
        other = self.marks[name].against
        return self._shows(name, *self._counts(text, [name] if other is None else [name, other]))

    def shown(self, text: str) -> set[str]:
        """All personas that the text shows."""
        counts = self._counts(text, self.marks)
        return {name for name in self.marks if self._shows(name, *counts)}

    def _shows(self, name: str, found: Mapping[str, int], lines: int) -> bool:
        own = self.marks[name]
        if own.against is not None:
            return found[name] > found[own.against]
        return found[name] > 0 and found[name] >= own.share * lines

    def _counts(self, text: str, names: Iterable[str]) -> tuple[dict[str, int], int]:
        """The number of sentences with markers of each of these personas, and the number of sentences."""
        lines = [line.lower() for line in sentences(text)]
        respelled: list[str] | None = None
        found = {}
        for name in names:
            read = lines
            if self.marks[name].respell:
                read = respelled = respelled or [self.respelled(line) for line in lines]
            pattern = self._patterns[name]
            found[name] = sum(bool(pattern.search(line)) for line in read)
        return found, len(lines)


@lru_cache(maxsize=1)
def bundled() -> Markers:
    """The markers of the bundled personas."""
    return read_markers(BUNDLED)


def read_markers(file: Path) -> Markers:
    """Markers of a YAML file: {persona: [regular expression, …]}, or a persona's list with its conditions.

    The long form is {spelling: [{from, to}, …], personas: {NAME: {markers, against, share, respell}}}.
    Raises UsageError naming file, line and key.
    """
    documents = safe_yaml.read(file.expanduser(), error=UsageError)
    if len(documents) != 1:
        raise UsageError(f"{file}: must be one mapping of personas to lists of markers")
    document = documents[0]
    data: Any = document.data
    path: KeyPath = ()
    spelling: list[tuple[str, str]] = []
    if isinstance(data.get("personas"), dict):
        for key in data:
            if key not in ("personas", "spelling"):
                _fail(document, (key,), "unknown key (choose from personas, spelling)")
        spelling = _spelling(document, data.get("spelling", []))
        data, path = data["personas"], ("personas",)
    if not data:
        _fail(document, path, "must have at least one persona")
    marks = {str(name): _marks(document, (*path, name), own) for name, own in data.items()}
    for name, own in marks.items():
        if own.against is not None and own.against not in marks:
            _fail(document, (*path, name, "against"), f"no markers are given for {own.against}")
    return Markers(marks, spelling)


def _marks(document: Document, path: KeyPath, data: Any) -> Marks:
    """The markers of one persona: a list, or a mapping with its conditions."""
    if isinstance(data, list):
        return Marks(_fragments(document, path, data))
    if not isinstance(data, dict):
        _fail(document, path, f"must be a list of markers, not {kind_of(data)}")
    for key in data:
        if key not in _KEYS:
            _fail(document, (*path, key), f"unknown key (choose from {', '.join(_KEYS)})")
    share, against, respell = data.get("share", 0.0), data.get("against"), data.get("respell", False)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        _fail(document, (*path, "share"), "must be a number from 0 to 1")
    if against is not None and not isinstance(against, str):
        _fail(document, (*path, "against"), "must be the name of a persona")
    if not isinstance(respell, bool):
        _fail(document, (*path, "respell"), "must be true or false")
    markers = _fragments(document, (*path, "markers"), data.get("markers"))
    return Marks(markers, against, float(share), respell)


def _fragments(document: Document, path: KeyPath, data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not data:
        _fail(document, path, "must be a list of regular expressions")
    for place, fragment in enumerate(data):
        _regular(document, (*path, place), fragment)
    return tuple(data)


def _spelling(document: Document, data: Any) -> list[tuple[str, str]]:
    """Replacements of dialect spellings, in order."""
    found = []
    for place, item in enumerate(data if isinstance(data, list) else [data]):
        path: KeyPath = ("spelling", place)
        if not isinstance(item, dict) or item.keys() != {"from", "to"} or not isinstance(item["to"], str):
            _fail(document, path, "must be {from, to}")
        _regular(document, (*path, "from"), item["from"])
        found.append((item["from"], item["to"]))
    return found


def _regular(document: Document, path: KeyPath, fragment: Any) -> None:
    if not isinstance(fragment, str) or not fragment.strip():
        _fail(document, path, f"must be a regular expression, not {kind_of(fragment)}")
    try:
        pattern = marker_pattern(fragment)
    except re.error as error:
        _fail(document, path, f"is not a valid regular expression: {error.msg}")
    if pattern.search(""):
        _fail(document, path, "matches the empty text")


def _fail(document: Document, path: KeyPath, message: str) -> Any:
    raise UsageError(f"{document.where(path)}: {message}")
