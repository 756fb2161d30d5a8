"""Names, checks and writes an imported persona."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.files import staged_folder, swapped_in, write_atomic
from mpg_cli.io.text import visible
from mpg_cli.io.yaml_text import to_yaml
from mpg_cli.personas import schema
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.importing.draft import Draft, LocalAdapter
from mpg_cli.personas.importing.names import derived_name, fallback_name
from mpg_cli.personas.importing.sanitize import sanitized
from mpg_cli.personas.persona_file import Destination, check_name, hides, namesake
from mpg_cli.personas.registry import Registry
from mpg_cli.personas.schema import Persona

_GGUF_NAME = "adapter.gguf"  # the name that Ollama gives it is often a digest without a suffix


@dataclass(frozen=True)
class Imported:
    """A persona ready to be written: its destination, the text of its file, and notices about changes."""

    where: Destination
    text: str
    adapter: LocalAdapter | None
    notices: tuple[str, ...]


def prepare(draft: Draft, folder: Path, name: str | None, label: str) -> Imported:
    """The persona under `name`, or a name derived from its title. Raises UsageError.

    Checks that the text parses to the same persona.
    """
    notices = list(draft.notices)
    name = name or derived_name(draft.title)
    if name is None:
        if not draft.title:
            raise UsageError(f"{label}: the persona has no name", hint="choose one with --name")
        name = fallback_name(draft.title, draft.stem)
        title = visible(draft.title, 60)
        notices.append(
            f"'{title}' has no Latin letters: the persona is named {name} (choose another name with --name)"
        )
    check_name(name)
    where = Destination(folder, name, draft.adapter.base if draft.adapter else "")
    extensions = sanitized(draft.extensions)
    while True:
        text = to_yaml(_fields(draft, where, extensions.data))
        excess = len(text.encode()) - safe_yaml.MAX_BYTES
        if excess <= 0:
            break
        if not extensions.shrink(excess):
            limit = safe_yaml.MAX_BYTES >> 20
            raise UsageError(f"{label}: the prompt is larger than the {limit} MiB of a persona file")
    _check(text, where, draft, extensions.data, label)
    local = draft.adapter.local if draft.adapter else None
    return Imported(where, text, local, (*notices, *extensions.notices()))


def check_free(new: Imported, *, force: bool) -> None:
    """Raise UsageError if something of that name exists that cannot be replaced, or only with `force`."""
    where = new.where
    _check_folder(where, force=force)
    if new.adapter is not None and where.adapter.exists() and not force:
        raise UsageError(f"{visible(str(where.adapter))} exists", hint="use --force to replace it")
    other = namesake(where)
    if other is not None and not force:
        hidden = hides(where, other)
        what = "would hide the persona in" if hidden else "would be hidden by the persona in"
        raise UsageError(
            f"the new {where.name} {what} {other.where}",
            hint="choose another name, or use --force",
        )


def write(new: Imported) -> Path:
    """Atomically write the persona file and its adapter; returns the file.

    Raises UsageError if they cannot be written.
    """
    where = new.where
    try:
        where.folder.mkdir(parents=True, exist_ok=True)
        with _placed(new.adapter, where):
            write_atomic(where.file, new.text, error=None)
    except OSError as error:
        place = visible(str(error.filename or where.folder))
        raise UsageError(f"{place} cannot be written: {error.strerror or error}") from None
    return where.file


def _fields(draft: Draft, where: Destination, extensions: dict[str, object]) -> dict[str, object]:
    """The document without empty fields."""
    adapter = draft.adapter.entry(where.adapter_path) if draft.adapter else None
    fields: dict[str, object] = {
        "name": where.name,
        "description": draft.description,
        "prompt": draft.prompt,
        "adapters": [adapter] if adapter else None,
        "use": "both" if adapter and draft.prompt else None,  # Ollama applies both
        "tags": list(draft.tags),
        "license": draft.license,
        "source": draft.source,
        "extensions": extensions,
    }
    return {key: value for key, value in fields.items() if value}


def _check(text: str, where: Destination, draft: Draft, extensions: dict[str, object], label: str) -> None:
    """Raise UsageError unless the text parses to the drafted persona."""
    try:
        found = schema.parse_document(safe_yaml.parse(text, where.file)[0])
    except PersonaError as error:
        raise UsageError(f"{label}: the result is not a valid persona: {error.message}") from None
    if (found.prompt, found.extensions, found.tags) != (draft.prompt, extensions, draft.tags):
        raise UsageError(f"{label}: it cannot be stored in a persona file without loss")


def _check_folder(where: Destination, *, force: bool) -> None:
    """Check the persona file and namesakes in the destination folder."""
    registry = Registry.load([where.folder])
    existing: Persona | None = None
    for persona in (*registry.personas, *registry.shadowed):
        if persona.name.lower() == where.name.lower():
            existing = persona
    if existing is not None and not _same(existing.file, where.file):
        raise UsageError(
            f"{existing.where}: the persona {existing.name} exists already",
            hint="choose another name",
        )
    if not os.path.lexists(where.file):
        return
    if not force:
        raise UsageError(
            f"{visible(str(where.file))} exists", hint="use --force to replace it, or choose another name"
        )
    others = [
        persona.name
        for persona in (*registry.personas, *registry.shadowed)
        if _same(persona.file, where.file) and persona is not existing
    ]
    own = {where.name.lower(), where.file.stem.lower()}
    for problem in (problem for problem in registry.problems if _same(problem.file, where.file)):
        others += sorted(name for name in problem.names if name.lower() not in own)
    if others:
        raise UsageError(
            f"{visible(str(where.file))} has other personas too: {', '.join(others[:5])}",
            hint="choose another name",
        )


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


@contextlib.contextmanager
def _placed(adapter: LocalAdapter | None, where: Destination) -> Iterator[None]:
    """Copy the adapter, if any, to its destination; restores the old one if the block fails."""
    if adapter is None or _same(adapter.weights.parent, where.adapter):
        yield
        return
    with staged_folder(where.adapter) as staged:
        if adapter.config is not None:
            shutil.copyfile(adapter.config, staged / CONFIG_FILE)
        shutil.copyfile(adapter.weights, staged / (WEIGHTS_FILE if adapter.config else _GGUF_NAME))
        with swapped_in(staged, where.adapter):
            yield
