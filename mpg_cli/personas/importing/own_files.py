"""Files in YAML, and persona files among them: those need no import, and how they are used is told."""

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
    """The documents of a file, at least one. Raises UsageError."""
    if len(data) > safe_yaml.MAX_BYTES:
        raise UsageError(f"{where}: larger than {safe_yaml.MAX_BYTES >> 20} MiB of YAML")
    documents = safe_yaml.parse(decode(data, where), Path(where), error=UsageError)
    if not documents:
        raise UsageError(f"{where} is empty")
    return documents


def refuse_persona(documents: Sequence[Document], where: str, path: Path | None) -> None:
    """Raises UsageError where `documents`, from the file at `path`, are personas or meant to be."""
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
            f"{where}: a persona file, which needs no import, with mistakes:\n{error.message}",
            hint=f"mend them, and use it as it is, with {_use('NAME', path)}",
        ) from None
    name = personas[0].name
    first = "use it as it is" if in_place else f"save it as {name}.yaml"
    raise UsageError(f"{where}: a persona file needs no import", hint=f"{first}, with {_use(name, path)}")


def _use(name: str, path: Path | None) -> str:
    folder = "." if path is None else visible(str(path.parent))
    return f"mpg generate -p {name} --persona-dir {shlex.quote(folder)} '…'"


def _is_persona(document: Document) -> bool:
    """Whether there is an expert, no character, and more keys of a persona than foreign ones.

    Misspelt keys are neither; a name and a description are not yet a character.
    """
    keys = document.data.keys()
    if _EXPERT.isdisjoint(keys) or len(keys) > _MANY:
        return False
    if find_character({key: value for key, value in document.data.items() if key != "description"}):
        return False
    others = keys - set(schema.KEYS)
    foreign = [key for key in others if not nearest(key, schema.KEYS, 1)]
    return len(keys) - len(others) > len(foreign)
