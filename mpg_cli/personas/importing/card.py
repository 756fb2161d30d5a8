"""Reads character cards and characters of other programs: their format and their type-checked fields."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.safe_yaml import kind_of
from mpg_cli.io.text import visible
from mpg_cli.personas.importing.characters import Character, find_character
from mpg_cli.personas.importing.charx import card_json
from mpg_cli.personas.importing.json_text import parse_json
from mpg_cli.personas.importing.other_kinds import WHAT, refusal
from mpg_cli.personas.importing.png import text_chunks

MAX_NAME = 200  # characters; it replaces every {{char}}

_SPECS = {"chara_card_v2": 2, "chara_card_v3": 3}
_CHUNKS = ("ccv3", "chara")  # the first one present is the card
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class Card:
    """A parsed card: `raw` is the whole object, `data` its fields by the names of V2."""

    kind: str  # the format in words
    raw: Mapping[str, Any]
    data: Mapping[str, Any]
    where: str
    notices: tuple[str, ...] = field(default=())

    def text(self, key: str) -> str:
        """A text field, "" if missing. Raises UsageError for another type."""
        value = self.data.get(key)
        if value is None:
            return ""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise UsageError(f"{self.where}: the card's {key} must be text, not {kind_of(value)}")
        return value.replace("\r\n", "\n").replace("\r", "\n").strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of a list field; other items and types are ignored."""
        value = self.data.get(key)
        items = value if isinstance(value, list) else []
        return tuple(item.strip() for item in items if isinstance(item, str) and item.strip())

    @property
    def name(self) -> str:
        return self.text("name")

    @property
    def char(self) -> str:
        """The value of {{char}}: the nickname of V3, else the name."""
        return (self.v3 and self.text("nickname")) or self.name

    @property
    def v3(self) -> bool:
        """Whether the fields introduced by V3 are used."""
        return self.raw.get("spec") == "chara_card_v3"


def from_png(data: bytes, where: str) -> Card:
    """The card in a PNG: `ccv3` before `chara`. Raises UsageError."""
    chunks = text_chunks(data, _CHUNKS, where)
    key = next((name for name in _CHUNKS if name in chunks), None)
    if key is None:
        raise UsageError(
            f"{where}: the picture has no character card",
            hint="download the original; sites that convert or resize pictures remove the card",
        )
    texts = chunks[key]
    raw = _decoded(texts[0], f"{where}: the text '{key}'")
    notices: tuple[str, ...] = ()
    if len(set(texts)) > 1:
        notices = (f"the picture has {len(texts)} different texts '{key}'; the first one is used",)
    return from_json(raw, where, notices)


def from_charx(file: BinaryIO, where: str) -> Card:
    """The card in a .charx file (a zip). Raises UsageError."""
    return from_json(card_json(file, where), where)


def from_json(raw: bytes, where: str, notices: tuple[str, ...] = ()) -> Card:
    """The card in JSON. Raises UsageError if it is not one."""
    return from_data(parse_json(raw, where), where, notices)


def from_data(card: Any, where: str, notices: tuple[str, ...] = ()) -> Card:
    """The card in parsed JSON or YAML. Raises UsageError if it is not one."""
    if not isinstance(card, dict):
        raise UsageError(f"{where}: not a character card but {kind_of(card)}", hint=WHAT)
    spec, data = card.get("spec"), card.get("data")
    version = _SPECS.get(spec) if isinstance(spec, str) else None
    if version and isinstance(data, dict):
        found = Character(f"Character Card V{version}", _named(data, card))
        notices += _newer(card.get("spec_version"), version)
    elif character := find_character(card):
        found = character
        if spec and not version:
            notice = f"unknown spec '{visible(str(spec), 60)}'; it was read as a {found.kind}"
            notices = (*notices, notice)
    else:
        raise refusal(card, where)
    return _checked(Card(found.kind, card, found.data, where, notices))


def _named(data: Mapping[str, Any], card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a card; a missing name is taken from the enclosing object."""
    name = data.get("name")
    return data if name and str(name).strip() else {**data, "name": card.get("name")}


def _decoded(text: bytes, what: str) -> bytes:
    """Decoded base64 (with line breaks, URL-safe or unpadded, as in other card readers), or plain JSON."""
    packed = b"".join(text.split()).strip(b"\0")
    if packed.startswith(b"{"):
        return text
    packed = packed.translate(_URL_SAFE).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{what} is not base64") from None


def _checked(card: Card) -> Card:
    for name in (card.name, card.char):
        if len(name) > MAX_NAME:
            raise UsageError(f"{card.where}: the card's name is longer than {MAX_NAME} characters")
    return card


def _newer(spec_version: Any, version: int) -> tuple[str, ...]:
    """A notice if the card's version is newer than the supported one."""
    try:
        newer = float(spec_version) > version + (0 if version == 3 else 0.99)
    except (TypeError, ValueError):
        return ()
    if not newer:
        return ()
    return (f"the card has version {visible(str(spec_version), 20)}, newer than the supported {version}.0",)
