"""Reads a file to import, or stdin, and detects its format by content."""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.file_kinds import PNG, kind_of
from mpg_cli.io.safe_yaml import Document
from mpg_cli.io.text import visible
from mpg_cli.options.personas import ImportOptions
from mpg_cli.personas.importing import card, charx
from mpg_cli.personas.importing.card import Card
from mpg_cli.personas.importing.card_prompt import draft_of_card
from mpg_cli.personas.importing.draft import Draft
from mpg_cli.personas.importing.json_text import decode, parse_json
from mpg_cli.personas.importing.modelfile_persona import draft_of_modelfile
from mpg_cli.personas.importing.other_kinds import known_kind
from mpg_cli.personas.importing.own_files import read_yaml, refuse_persona
from mpg_cli.personas.importing.png import SIGNATURE
from mpg_cli.personas.importing.sanitize import one_line

MAX_FILE = 64 << 20  # bytes read into memory
MAX_ZIP = 512 << 20  # bytes on disk; only the card is read

_KINDS = (
    "character cards (.png, .json, .charx), characters of other programs (.json, .yaml) and Ollama "
    "Modelfiles can be imported"
)
_NO_OPTIONS = ImportOptions()
_KEY = re.compile(r"[\"']?([A-Za-z_][\w ]*)[\"']?[ \t]*:(?:\s|$)", re.ASCII)  # at the start of YAML


def read_draft(file: str, stdin: BinaryIO, wanted: ImportOptions = _NO_OPTIONS) -> Draft:
    """The persona in `file` (`-` for stdin). Raises UsageError."""
    if file == "-":
        return _draft(io.BytesIO(_limited(stdin, "stdin")), "stdin", None, wanted)
    path = Path(os.path.expanduser(file))
    where = visible(file)
    try:
        with path.open("rb") as stream:
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            source: BinaryIO = stream if regular else io.BytesIO(_limited(stream, where))
            return _draft(source, where, path, wanted)
    except IsADirectoryError:
        raise UsageError(f"{where} is a folder", hint=_KINDS) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else visible(str(error), 100)
        raise UsageError(f"{where} cannot be read: {reason}") from None


def _draft(source: BinaryIO, where: str, path: Path | None, wanted: ImportOptions) -> Draft:
    found = _card_of_bytes(source, where)
    if found is None:
        source.seek(0)
        data = _limited(source, where)
        found = card.from_png(data, where) if data.startswith(SIGNATURE) else _card_of_text(data, where, path)
        if found is None:
            return draft_of_modelfile(data, where, path, wanted.base)
    name = one_line(path.name, 100) if path else "stdin"
    draft = draft_of_card(found, name, wanted.user, wanted.name)
    return replace(draft, stem=path.stem if path else "")


def _card_of_bytes(source: BinaryIO, where: str) -> Card | None:
    """The card in an archive; None for PNG and text. Raises UsageError for other kinds of files."""
    head = source.read(1024)
    if head.startswith(b"PK") or (head.startswith(b"\xff\xd8\xff") and charx.is_zip(source)):
        if source.seek(0, os.SEEK_END) > MAX_ZIP:
            raise UsageError(f"{where}: larger than {MAX_ZIP >> 20} MiB")
        return card.from_charx(source, where)
    if head.startswith(b"GGUF"):
        raise UsageError(
            f"{where}: a GGUF file has weights, not a persona",
            hint="give a model as --model FILE.gguf, a LoRA as --adapter FILE.gguf",
        )
    kind = kind_of(head)
    if kind is not None and kind is not PNG:
        default = "get the original PNG, or the card as JSON"
        hint = kind.hint(where, "card.json") if kind.packed else default
        raise UsageError(f"{where}: {kind.name} has no character card", hint=f"{hint}; {_KINDS}")
    return None


def _card_of_text(data: bytes, where: str, path: Path | None) -> Card | None:
    """The character in JSON or YAML; None if the file may be a Modelfile."""
    suffix = path.suffix.lower() if path else ""
    if not data.strip():
        raise UsageError(f"{where} is empty")
    if suffix in (".png", ".apng"):
        raise UsageError(f"{where}: not a PNG file, despite its name")
    if suffix == ".charx":
        raise UsageError(f"{where}: not a zip file, as a .charx file must be")
    start = _first_line(data, where)
    if suffix in (".yaml", ".yml") or (suffix != ".json" and _is_yaml(start)):
        (found, *_) = documents = read_yaml(data, where)
        refuse_persona(documents, where, path)
        if len(documents) > 1:
            raise UsageError(
                f"{where}: {len(documents)} documents in one file", hint="import them one by one"
            )
        return card.from_data(found.data, where)
    if suffix == ".json" or start.startswith(("{", "[")):
        value = _json(data, start, where)
        if isinstance(value, dict):
            refuse_persona((Document(Path(where), 1, value, {}),), where, path)
        return card.from_data(value, where)
    return None


def _is_yaml(start: str) -> bool:
    """Whether a file with this first line is YAML. `FROM:` is an error in a Modelfile, not YAML."""
    key = _KEY.match(start)
    return start.startswith("---") or (key is not None and key.group(1).lower() != "from")


def _json(data: bytes, start: str, where: str) -> Any:
    """The value of a JSON file whose first line is `start`. Raises UsageError."""
    try:
        return parse_json(data, where)
    except UsageError as error:
        try:
            first = parse_json(start.encode(), where)  # the first of JSON lines
        except UsageError:
            raise error from None
        known = known_kind(first, where) if isinstance(first, dict) else None
        raise known or error from None


def _first_line(data: bytes, where: str) -> str:
    """The first line that is not empty or a comment, stripped. Raises UsageError if the file is not text."""
    try:
        text = decode(data, where)
    except UsageError:
        if b"\0" not in data[:1024]:
            raise
        text = "\0"
    start = next((line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"), "")
    if "\0" in text[:1024] or not start[:1].isprintable():
        raise UsageError(f"{where}: neither a character nor a Modelfile", hint=_KINDS)
    return start


def _limited(stream: BinaryIO, where: str) -> bytes:
    data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise UsageError(f"{where}: larger than {MAX_FILE >> 20} MiB")
    return data
