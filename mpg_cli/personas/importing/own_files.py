"""Reads YAML files, and refuses persona files, which need no import."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import Document
from mpg_cli.io.text import nearest, visible
from mpg_cli.personas import schema
from mpg_cli.personas.importing.characters import find_character
from mpg_cli.personas.importing.json_text import decode

_EXPERT = frozenset(("prompt", "adapters", "parts"))
_MANY = 2 * len(schema.KEYS)
_SUFFIXES = (".yaml", ".yml")


def read_yaml(data: bytes, where: str) -> tuple[Document, ...]:
    """The documents of a file, at least one. Raises UsageError for an empty or invalid file."""
    if len(data) > safe_yaml.MAX_BYTES:
        raise UsageError(f"{where}: larger than {safe_yaml.MAX_BYTES >> 20} MiB of YAML")
    documents = safe_yaml.parse(decode(data, where), Path(where), error=UsageError)
    if not documents:
        raise UsageError(f"{where} is empty")
    return documents


def refuse_persona(documents: Sequence[Document], where: str, path: Path | None) -> None:
    """Raise UsageError if `documents`, from the file at `path`, are valid or invalid personas."""
    if not any(map(_is_persona, documents)):
        return
    in_place = path is not None and path.suffix.lower() in _SUFFIXES
    try:
        if path is not None and in_place:
            personas = schema.load_file(path)
        else:
            personas = tuple(map(schema.parse_document, documents))
    except PersonaError as error:
        raise UsageError(
            f"{where}: a persona file, which needs no import, with errors:\n{error.message}",
            hint=f"correct them and use the file directly: {_use('NAME', path)}",
        ) from None
    name = personas[0].name
    first = "use it directly" if in_place else f"save it as {name}.yaml and use it"
    raise UsageError(f"{where}: a persona file needs no import", hint=f"{first}: {_use(name, path)}")


def _use(name: str, path: Path | None) -> str:
    folder = "." if path is None else visible(str(path.parent))
    return f"mpg generate -p {name} --persona-dir {shlex.quote(folder)} '…'"


def _is_persona(document: Document) -> bool:
    """Whether the document has a key of an expert, is not a character, and has mostly keys of a persona.

    Misspelt keys are not counted; name and description alone do not make a character.
    """
    keys = document.data.keys()
    if _EXPERT.isdisjoint(keys) or len(keys) > _MANY:
        return False
    if find_character({key: value for key, value in document.data.items() if key != "description"}):
        return False
    others = keys - set(schema.KEYS)
    foreign = [key for key in others if not nearest(key, schema.KEYS, 1)]
    return len(keys) - len(others) > len(foreign)
