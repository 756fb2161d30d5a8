"""Writes the persona file of a trained adapter: a new file, or another entry in an existing one.

An existing file may hold other personas too.

An existing file is edited as text to preserve comments and order; the result is parsed and compared with the
expected data.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import Document
from mpg_cli.io.text import visible
from mpg_cli.personas import expression, schema
from mpg_cli.personas.base import Base, model_names
from mpg_cli.personas.registry import Registry, load_default, search_path
from mpg_cli.personas.schema import AdapterEntry, Persona

_PLAIN = re.compile(r"[A-Za-z](?:[\w./()+-]|, |; | (?! ))*[\w./()+-]|[A-Za-z]", re.ASCII)
_NEXT = re.compile(r"(---|\.\.\.)(\s|$)")  # the end of a document
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off"))


@dataclass(frozen=True)
class Texts:
    """The fields of a new persona beside its adapter."""

    description: str | None = None
    prompt: str | None = None
    license: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    extends: bool = False


@dataclass(frozen=True)
class Destination:
    """The destination of an adapter: persona folder, persona name, id of the base model.

    `shared` is the persona's file, if it is not NAME.yaml.
    """

    folder: Path
    name: str
    base: str
    shared: Path | None = None

    @property
    def file(self) -> Path:
        return self.shared or self.folder / f"{self.name}.yaml"

    @property
    def adapter_path(self) -> str:
        """The path of the adapter relative to the persona file."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", self.base.replace("/", "--")).strip(".-") or "model"
        return f"adapters/{slug}/{self.name}"

    @property
    def adapter(self) -> Path:
        return self.folder / self.adapter_path

    @property
    def run(self) -> Path:
        """The folder of the unfinished run."""
        return self.adapter.parent / f".{self.name}.training"

    @property
    def unfinished(self) -> bool:
        """Whether there is an unfinished run to resume; it was checked for --force when it started."""
        return any(self.run.glob("*/trainer_state.json"))


def check_name(name: str) -> None:
    """Raise UsageError for an invalid persona name."""
    if not expression.NAME.fullmatch(name) or len(name) > expression.MAX_NAME:
        raise UsageError(
            f"'{visible(name, 60)}' is not a valid persona name: it must be a letter, then letters, digits, "
            f"- and _, at most {expression.MAX_NAME} characters"
        )


def check_destination(where: Destination, texts: Texts, *, force: bool) -> Persona | None:
    """The existing persona that the adapter will be added to; None for a new one.

    Raises UsageError if something of that name exists that cannot be replaced, or only with `force`.
    """
    registry = Registry.load([where.folder])
    wanted = where.name.lower()
    known = any(persona.name.lower() == wanted for persona in registry.personas)
    broken = any(wanted in problem.names for problem in registry.problems)
    existing = registry.get(where.name) if known or broken else None  # raises if its file is invalid
    if existing is None:
        if where.file.exists():
            raise UsageError(f"{visible(str(where.file))} exists and has no persona {where.name}")
    else:
        _check_existing(existing, where, texts, force=force)
    if where.adapter.exists() and not force and not where.unfinished:
        raise UsageError(
            f"{visible(str(where.adapter))} exists", hint="use --force to replace it, or choose another name"
        )
    return existing


def namesake(where: Destination) -> Persona | None:
    """The first persona of that name in another folder of the search path."""
    registry, own = load_default(), os.path.realpath(where.folder)
    for persona in (*registry.personas, *registry.shadowed):
        if persona.name.lower() == where.name.lower() and os.path.realpath(persona.file.parent) != own:
            return persona
    return None


def hides(where: Destination, other: Persona) -> bool:
    """Whether a new persona at `where` would hide one in another folder of the search path."""
    folders = [os.path.realpath(folder) for folder in search_path()]
    own, theirs = os.path.realpath(where.folder), os.path.realpath(other.file.parent)
    return own not in folders or folders.index(own) < folders.index(theirs)  # --persona-dir comes first


def filled_from(texts: Texts, other: Persona) -> Texts:
    """The texts, with missing fields copied from another persona; one that has neither a description nor a
    prompt of its own extends it.
    """
    own = texts.description or texts.prompt
    return Texts(
        description=texts.description or other.description or None,
        prompt=texts.prompt or other.prompt,
        license=texts.license or other.license,
        source=texts.source or other.source,
        tags=texts.tags or other.tags,
        extends=not own and bool(other.adapters),
    )


def options_to_find(folder: Path, model: str | None) -> list[str]:
    """The command-line options to find a persona in that folder, on that model (None: the default)."""
    searched = {os.path.realpath(one) for one in search_path()}
    words = [] if os.path.realpath(folder) in searched else ["--persona-dir", str(folder)]
    return [*words, "--model", model] if model else words


def same_base(entry: AdapterEntry, where: Destination) -> bool:
    """Whether an adapter's base is the base of the destination, by name."""
    return Base(model_names(where.base)).has_name(entry.base)


def persona_text(
    where: Destination, texts: Texts, existing: Persona | None, base_digest: str | None = None
) -> str:
    """The text of the persona file. Raises UsageError if it cannot be written safely."""
    entry = AdapterEntry(
        base=where.base, folder=where.folder, path=where.adapter_path, base_digest=base_digest
    )
    if existing is None:
        if where.file.exists():
            raise UsageError(
                f"{visible(str(where.file))} was created meanwhile and is not changed",
                hint="run the same command again to add the adapter to it",
            )
        text = _new(entry, where.name, texts)
        wanted = Persona(
            name=where.name,
            file=where.file,
            line=1,
            description=" ".join((texts.description or "").split()),
            prompt=(texts.prompt or "").strip() or None,
            adapters=(entry,),
            extends=texts.extends,
            tags=texts.tags,
            license=(texts.license or "").strip() or None,
            source=(texts.source or "").strip() or None,
        )
    else:
        document = _document(existing)
        existing = schema.parse_document(document)
        kept = tuple(other for other in existing.adapters if not same_base(other, where))
        wanted = replace(existing, adapters=(entry, *kept))
        if existing.adapters[:1] == (entry,) and wanted.adapters == existing.adapters:
            return existing.file.read_text(encoding="utf-8")
        text = _edited(document, existing, entry, where)
    _check(text, where, wanted)
    return text


def _document(persona: Persona) -> Document:
    """The document of a persona in its file as it is now. Raises UsageError if it is gone."""
    for document in safe_yaml.read(persona.file):
        if str(document.data.get("name")).strip() == persona.name:
            return document
    raise UsageError(f"{visible(str(persona.file))} was changed meanwhile and has no persona {persona.name}")


def _check_existing(existing: Persona, where: Destination, texts: Texts, *, force: bool) -> None:
    if existing.name != where.name:
        raise UsageError(
            f"{existing.where}: the persona {existing.name} exists already",
            hint=f"write its name as there: {existing.name}",
        )
    if existing.parts is not None:
        raise UsageError(f"{existing.where}: {existing.name} is a composite and has no adapter of its own")
    for flag, value, current in (
        ("--description", texts.description, existing.description),
        ("--prompt", texts.prompt, existing.prompt),
        ("--license", texts.license, existing.license),
        ("--source", texts.source, existing.source),
    ):
        if value is not None and value.split() != (current or "").split():
            raise UsageError(
                f"{flag} differs from the existing persona {existing.name}",
                hint=f"edit {visible(str(existing.file))}",
            )
    for entry in existing.adapters:
        if same_base(entry, where) and not force and not where.unfinished:
            raise UsageError(
                f"{existing.where}: {existing.name} already has an adapter for {entry.base}",
                hint="use --force to replace it, or choose another name",
            )


def _new(entry: AdapterEntry, name: str, texts: Texts) -> str:
    lines = [f"name: {_scalar(name)}"]
    if texts.description:
        lines.append(f"description: {_scalar(texts.description)}")
    if texts.prompt:
        lines.append(f"prompt: {_scalar(texts.prompt)}")
    lines += ["adapters:", *_entry_lines(entry)]
    if texts.extends:
        lines.append("extends: true")
    if texts.tags:
        lines += ["tags:", *(f"  - {_scalar(tag)}" for tag in texts.tags)]
    lines += [f"{key}: {_scalar(value)}" for key, value in _about(texts) if value]
    return "\n".join(lines) + "\n"


def _about(texts: Texts) -> tuple[tuple[str, str | None], ...]:
    return ("license", texts.license), ("source", texts.source)


def _entry_lines(entry: AdapterEntry, indent: str = "  ") -> list[str]:
    fields = (("base", entry.base), ("base_digest", entry.base_digest), ("path", entry.path))
    lines = [f"{key}: {_scalar(value)}" for key, value in fields if value is not None]
    return [f"{indent}{'  ' if index else '- '}{line}" for index, line in enumerate(lines)]


def _edited(document: Document, existing: Persona, entry: AdapterEntry, where: Destination) -> str:
    """The text with the entry before the others, without entries of the same base."""
    lines = document.file.read_text(encoding="utf-8").splitlines()
    below = next((n for n in range(document.line, len(lines)) if _NEXT.match(lines[n])), len(lines))
    if not existing.adapters:
        return "\n".join([*lines[:below], "adapters:", *_entry_lines(entry), *lines[below:], ""])
    starts = sorted(set(document.lines.values()))
    first = document.lines[("adapters", 0)] - 1
    indent = re.match(r"[ \t]*", lines[first])
    new = _entry_lines(entry, indent.group() if indent else "")
    drop: set[int] = set()
    for index, other in enumerate(existing.adapters):
        if same_base(other, where):
            own = {line for path, line in document.lines.items() if path[:2] == ("adapters", index)}
            end = next((line for line in starts if line > max(own)), below + 1)
            drop.update(range(min(own) - 1, end - 1))
    kept = [[line] for line in lines]
    for number in drop:
        kept[number] = []
    kept[first] = [*new, *kept[first]]
    return "\n".join([*(line for group in kept for line in group), ""])


def _scalar(text: str) -> str:
    """Text as YAML: plain if unambiguous, else in double quotes with JSON's escapes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _check(text: str, where: Destination, wanted: Persona) -> None:
    """Raise UsageError unless the text parses to the wanted persona."""
    try:
        personas = [schema.parse_document(document) for document in safe_yaml.parse(text, where.file)]
    except PersonaError as error:
        raise UsageError(f"the persona file would not be valid: {error}") from None
    found = next((persona for persona in personas if persona.name == wanted.name), None)
    if found is None or replace(found, line=wanted.line) != replace(wanted, file=found.file):
        raise UsageError(
            f"{visible(str(where.file))} has a layout that mpg cannot edit safely",
            hint="write its adapters as a block list, one item per line, or move the file away",
        )
