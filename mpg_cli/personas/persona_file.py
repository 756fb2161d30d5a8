"""The persona file of a trained adapter: a new one, or one more entry in one that is there.

An existing file is edited as text, so that comments and order stay; what comes out is read back and must say
what was meant.
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
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off"))


@dataclass(frozen=True)
class Texts:
    """What a new persona says about itself beside its adapter."""

    description: str | None = None
    prompt: str | None = None
    license: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Destination:
    """Where everything about one adapter goes: persona folder, persona name, id of the base model."""

    folder: Path
    name: str
    base: str

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def adapter_path(self) -> str:
        """Of the adapter, relative to the persona file."""
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
        """Whether a run lies there that can go on; that it may replace an adapter was said when it began."""
        return any(self.run.glob("checkpoint-*/trainer_state.json"))


def check_name(name: str) -> None:
    """Raises UsageError if no persona can have that name."""
    if not expression.NAME.fullmatch(name) or len(name) > expression.MAX_NAME:
        raise UsageError(
            f"'{visible(name, 60)}' is no name of a persona: a letter, then letters, digits, - and _, "
            f"at most {expression.MAX_NAME}"
        )


def check_destination(where: Destination, texts: Texts, *, force: bool) -> Persona | None:
    """The persona that will get one more adapter, None if it will be new.

    Raises UsageError if something of that name is there which must not be touched, or may be only with
    `force`.
    """
    registry = Registry.load([where.folder])
    wanted = where.name.lower()
    known = any(persona.name.lower() == wanted for persona in registry.personas)
    broken = any(wanted in problem.names for problem in registry.problems)
    existing = registry.get(where.name) if known or broken else None  # raises what is wrong with its file
    if existing is None:
        if where.file.exists():
            raise UsageError(f"{visible(str(where.file))} exists and holds no persona {where.name}")
    else:
        _check_existing(existing, where, texts, force=force)
    if where.adapter.exists() and not force and not where.unfinished:
        raise UsageError(
            f"{visible(str(where.adapter))} exists", hint="--force replaces it; or choose another name"
        )
    return existing


def namesake(where: Destination) -> Persona | None:
    """The persona of that name in another folder that is searched, the first one there is."""
    registry, own = load_default(), os.path.realpath(where.folder)
    for persona in (*registry.personas, *registry.shadowed):
        if persona.name.lower() == where.name.lower() and os.path.realpath(persona.file.parent) != own:
            return persona
    return None


def hides(where: Destination, other: Persona) -> bool:
    """Whether a new persona there is found before one in another folder that is searched."""
    folders = [os.path.realpath(folder) for folder in search_path()]
    own, theirs = os.path.realpath(where.folder), os.path.realpath(other.file.parent)
    return own not in folders or folders.index(own) < folders.index(theirs)  # --persona-dir comes first


def carried(texts: Texts, other: Persona) -> Texts:
    """The texts, and what another persona says where they say nothing."""
    return Texts(
        description=texts.description or other.description or None,
        prompt=texts.prompt or other.prompt,
        license=texts.license or other.license,
        source=texts.source or other.source,
        tags=texts.tags or other.tags,
    )


def options_to_find(folder: Path, model: str | None) -> list[str]:
    """The options of a command that replies as a persona in that folder on that model (None: the default)."""
    searched = {os.path.realpath(one) for one in search_path()}
    words = [] if os.path.realpath(folder) in searched else ["--persona-dir", str(folder)]
    return [*words, "--model", model] if model else words


def same_base(entry: AdapterEntry, where: Destination) -> bool:
    """Whether an adapter is for the model that will be trained on, by its own name."""
    return Base(model_names(where.base)).goes_by(entry.base)


def persona_text(
    where: Destination, texts: Texts, existing: Persona | None, base_digest: str | None = None
) -> str:
    """The whole persona file. Raises UsageError if no such file can be written."""
    entry = AdapterEntry(
        base=where.base, folder=where.folder, path=where.adapter_path, base_digest=base_digest
    )
    if existing is None:
        if where.file.exists():
            raise UsageError(
                f"{visible(str(where.file))} appeared meanwhile, and is left as it is",
                hint="the same command again adds the adapter to it",
            )
        text = _new(entry, where.name, texts)
        wanted = Persona(
            name=where.name,
            file=where.file,
            line=1,
            description=" ".join((texts.description or "").split()),
            prompt=(texts.prompt or "").strip() or None,
            adapters=(entry,),
            tags=texts.tags,
            license=(texts.license or "").strip() or None,
            source=(texts.source or "").strip() or None,
        )
    else:
        document = safe_yaml.read(existing.file)[0]
        existing = schema.parse_document(document)
        kept = tuple(other for other in existing.adapters if not same_base(other, where))
        wanted = replace(existing, adapters=(entry, *kept))
        if existing.adapters[:1] == (entry,) and wanted.adapters == existing.adapters:
            return existing.file.read_text(encoding="utf-8")
        text = _edited(document, existing, entry, where)
    _check(text, where, wanted)
    return text


def _check_existing(existing: Persona, where: Destination, texts: Texts, *, force: bool) -> None:
    if existing.file != where.file or existing.name != where.name:
        raise UsageError(
            f"{existing.where}: there is a persona {existing.name} already",
            hint=f"choose another name, or move it to {where.file.name}",
        )
    if existing.parts is not None:
        raise UsageError(f"{existing.where}: {existing.name} is a composite and has no adapter of its own")
    if len(safe_yaml.read(existing.file)) > 1:
        raise UsageError(
            f"{visible(str(existing.file))} holds several personas; only a file of one is edited"
        )
    for flag, value, said in (
        ("--description", texts.description, existing.description),
        ("--prompt", texts.prompt, existing.prompt),
        ("--license", texts.license, existing.license),
        ("--source", texts.source, existing.source),
    ):
        if value is not None and value.split() != (said or "").split():
            raise UsageError(
                f"{flag} is for a new persona, and {existing.name} says something else there",
                hint=f"edit {visible(str(existing.file))}",
            )
    for entry in existing.adapters:
        if same_base(entry, where) and not force and not where.unfinished:
            raise UsageError(
                f"{existing.where}: {existing.name} has an adapter for {entry.base} already",
                hint="--force replaces it; or choose another name",
            )


def _new(entry: AdapterEntry, name: str, texts: Texts) -> str:
    lines = [f"name: {_scalar(name)}"]
    if texts.description:
        lines.append(f"description: {_scalar(texts.description)}")
    if texts.prompt:
        lines.append(f"prompt: {_scalar(texts.prompt)}")
    lines += ["adapters:", *_entry_lines(entry)]
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
    """The text with the entry in front of the others, those of the same base taken out."""
    lines = document.file.read_text(encoding="utf-8").splitlines()
    if not existing.adapters:
        return "\n".join([*lines, "adapters:", *_entry_lines(entry), ""])
    starts = sorted(set(document.lines.values()))
    first = document.lines[("adapters", 0)] - 1
    indent = re.match(r"[ \t]*", lines[first])
    new = _entry_lines(entry, indent.group() if indent else "")
    drop: set[int] = set()
    for index, other in enumerate(existing.adapters):
        if same_base(other, where):
            own = {line for path, line in document.lines.items() if path[:2] == ("adapters", index)}
            end = next((line for line in starts if line > max(own)), len(lines) + 1)
            drop.update(range(min(own) - 1, end - 1))
    kept = [[line] for line in lines]
    for number in drop:
        kept[number] = []
    kept[first] = [*new, *kept[first]]
    return "\n".join([*(line for group in kept for line in group), ""])


def _scalar(text: str) -> str:
    """As YAML: plain where that cannot be misread, else in the quotes of JSON, which YAML shares."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _check(text: str, where: Destination, wanted: Persona) -> None:
    """What was written must read back as what was meant."""
    try:
        found = schema.parse_document(safe_yaml.parse(text, where.file)[0])
    except (PersonaError, IndexError) as error:
        raise UsageError(f"the persona file would not be valid: {error}") from None
    if replace(found, line=wanted.line) != replace(wanted, file=found.file):
        raise UsageError(
            f"{visible(str(where.file))} is written in a way that cannot be edited safely",
            hint="write its adapters as a block list, an item a line, or move the file away",
        )
