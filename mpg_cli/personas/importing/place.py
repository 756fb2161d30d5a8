"""Where an imported persona goes, what stands there already, and the writing of it."""

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


@dataclass(frozen=True)
class Imported:
    """A persona that is ready to be written: its place, the text of its file and what was lost on the way."""

    where: Destination
    text: str
    adapter: LocalAdapter | None
    notices: tuple[str, ...]


def prepare(draft: Draft, folder: Path, name: str | None, label: str) -> Imported:
    """The file of the persona under `name`, or one made from its title. Raises UsageError.

    The text reads back as what was meant.
    """
    notices = list(draft.notices)
    name = name or derived_name(draft.title)
    if name is None:
        if not draft.title:
            raise UsageError(f"{label}: it has no name", hint="choose a name for the persona with --name")
        name = fallback_name(draft.title, draft.stem)
        title = visible(draft.title, 60)
        notices.append(f"'{title}' has no letter from A to Z: the persona is {name}, or what --name says")
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
            raise UsageError(f"{label}: its prompt alone is larger than a persona file may be, {limit} MiB")
    _check(text, where, draft, extensions.data, label)
    local = draft.adapter.local if draft.adapter else None
    return Imported(where, text, local, (*notices, *extensions.notices()))


def check_free(new: Imported, *, force: bool) -> None:
    """Raises UsageError if something of that name is there that must not be touched, or only with `force`."""
    where = new.where
    _check_folder(where, force=force)
    if new.adapter is not None and where.adapter.exists() and not force:
        raise UsageError(f"{visible(str(where.adapter))} exists", hint="--force replaces it")
    other = namesake(where)
    if other is not None and not force:
        hidden = hides(where, other)
        what = "would hide the one of" if hidden else "would be hidden by the one of"
        raise UsageError(
            f"the new {where.name} {what} {other.where}",
            hint="choose another name, or --force writes it all the same",
        )


def write(new: Imported) -> Path:
    """The persona file, written, with its adapter beside it; nothing half-done gets a final name.

    Raises UsageError where it cannot be written.
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
    """The document, empty fields left out."""
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
    """What is written must read back as what was meant."""
    try:
        found = schema.parse_document(safe_yaml.parse(text, where.file)[0])
    except PersonaError as error:
        raise UsageError(f"{label}: no valid persona comes of it: {error.message}") from None
    if (found.prompt, found.extensions, found.tags) != (draft.prompt, extensions, draft.tags):
        raise UsageError(f"{label}: it cannot be kept in a persona file without a loss")


def _check_folder(where: Destination, *, force: bool) -> None:
    """What the folder itself has under the name."""
    registry = Registry.load([where.folder])
    existing: Persona | None = None
    for persona in (*registry.personas, *registry.shadowed):
        if persona.name.lower() == where.name.lower():
            existing = persona
    if existing is not None and not _same(existing.file, where.file):
        raise UsageError(
            f"{existing.where}: there is a persona {existing.name} already",
            hint="choose another name",
        )
    if not os.path.lexists(where.file):
        return
    if not force:
        raise UsageError(
            f"{visible(str(where.file))} exists", hint="--force replaces it; or choose another name"
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
            f"{visible(str(where.file))} holds other personas too: {', '.join(others[:5])}",
            hint="choose another name",
        )


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


@contextlib.contextmanager
def _placed(adapter: LocalAdapter | None, where: Destination) -> Iterator[None]:
    """The adapter stands at its place, if there is one to be copied; if the block fails, what stood there."""
    if adapter is None or _same(adapter.weights.parent, where.adapter):
        yield
        return
    with staged_folder(where.adapter) as staged:
        shutil.copyfile(adapter.config, staged / CONFIG_FILE)
        shutil.copyfile(adapter.weights, staged / WEIGHTS_FILE)
        with swapped_in(staged, where.adapter):
            yield
