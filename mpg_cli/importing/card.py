"""Character Cards V1, V2 and V3 as data: which version it is, and its fields with their types checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.importing.charx import card_json
from mpg_cli.importing.json_text import parse_json
from mpg_cli.importing.png import text_chunks
from mpg_cli.personas.safe_yaml import kind_of
from mpg_cli.personas.text import visible

MAX_NAME = 200  # characters; it is put in wherever the card says {{char}}

_SPECS = {"chara_card_v2": 2, "chara_card_v3": 3}
_CHUNKS = ("ccv3", "chara")  # the first that is there is the card
_TEXTS = ("description", "personality", "scenario", "first_mes", "mes_example")
_WHAT = "a character card is a JSON object with name, description and more, or a PNG or .charx file with one"


@dataclass(frozen=True)
class Card:
    """A card as it was read. `raw` is the whole object, `data` the part with the fields."""

    version: int  # 1, 2 or 3
    raw: Mapping[str, Any]
    data: Mapping[str, Any]
    where: str
    notices: tuple[str, ...] = field(default=())

    def text(self, key: str) -> str:
        """A field of text, empty where it is missing. Raises UsageError for another type."""
        value = self.data.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise UsageError(f"{self.where}: the card's {key} must be text, not {kind_of(value)}")
        return value.replace("\r\n", "\n").replace("\r", "\n").strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of a list; whatever else is in it, or instead of it, is passed over."""
        value = self.data.get(key)
        items = value if isinstance(value, list) else []
        return tuple(item.strip() for item in items if isinstance(item, str) and item.strip())

    @property
    def name(self) -> str:
        return self.text("name")

    @property
    def char(self) -> str:
        """What {{char}} stands for: the nickname of V3, else the name."""
        return (self.version == 3 and self.text("nickname")) or self.name


def from_png(data: bytes, where: str) -> Card:
    """The card in a PNG: `ccv3` before `chara`. Raises UsageError."""
    chunks = text_chunks(data, _CHUNKS, where)
    key = next((name for name in _CHUNKS if name in chunks), None)
    if key is None:
        raise UsageError(
            f"{where}: the picture holds no character card",
            hint="download the original; sites that convert or shrink pictures drop the card",
        )
    texts = chunks[key]
    try:
        raw = base64.b64decode(texts[0].strip(b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{where}: the text '{key}' is not base64") from None
    notices: tuple[str, ...] = ()
    if len(set(texts)) > 1:
        notices = (f"the picture has {len(texts)} different texts '{key}'; the first one is used",)
    return from_json(raw, where, notices)


def from_charx(file: BinaryIO, where: str) -> Card:
    """The card in a zip. Raises UsageError."""
    return from_json(card_json(file, where), where)


def from_json(raw: bytes, where: str, notices: tuple[str, ...] = ()) -> Card:
    """The card in JSON. Raises UsageError for what is none."""
    card = parse_json(raw, where)
    if not isinstance(card, dict):
        raise UsageError(f"{where}: not a character card but {kind_of(card)}", hint=_WHAT)
    spec = card.get("spec")
    if spec is None:
        if not isinstance(card.get("name"), str) or not any(key in card for key in _TEXTS):
            raise UsageError(f"{where}: not a character card: no spec, name and description", hint=_WHAT)
        return _checked(Card(1, card, card, where, notices))
    version = _SPECS.get(spec) if isinstance(spec, str) else None
    if version is None:
        raise UsageError(
            f"{where}: the spec '{visible(str(spec), 60)}' is not known",
            hint=f"known are {' and '.join(_SPECS)}, and cards without a spec (V1)",
        )
    data = card.get("data")
    if not isinstance(data, dict):
        raise UsageError(f"{where}: the card's data must be a mapping, not {kind_of(data)}")
    newer = _newer(card.get("spec_version"), version)
    return _checked(Card(version, card, data, where, (*notices, *newer)))


def _checked(card: Card) -> Card:
    if not card.name:
        raise UsageError(f"{card.where}: the card has no name", hint="add one to it; --name is not enough")
    for name in (card.name, card.char):
        if len(name) > MAX_NAME:
            raise UsageError(f"{card.where}: the card's name is longer than {MAX_NAME} characters")
    return card


def _newer(said: Any, version: int) -> tuple[str, ...]:
    """What the user should know about a version that is newer than this program."""
    try:
        newer = float(said) > version + (0 if version == 3 else 0.99)
    except (TypeError, ValueError):
        return ()
    if not newer:
        return ()
    return (f"the card says version {visible(str(said), 20)}, newer than what is known here ({version}.0)",)
