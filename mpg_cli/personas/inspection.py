"""Finds all errors in persona files, with file, line and key. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mpg_cli.errors import MpgError, PersonaError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import Document, where_in
from mpg_cli.personas import expression, schema
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.personas.schema import AdapterEntry, Persona


@dataclass(frozen=True)
class Found:
    """An adapter entry of a persona and its position."""

    persona: Persona
    entry: AdapterEntry
    where: str  # FILE:LINE: KEY


@dataclass
class Report:
    """Counts of files and personas, all adapter entries, and `problems` (one or more lines each)."""

    files: int = 0
    personas: int = 0
    adapters: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def inspect(files: Iterable[Path], registry: Registry) -> Report:
    """Check the files; parts of composites are resolved in the registry."""
    report = Report()
    first: dict[tuple[Path, str], Persona] = {}  # by folder and name
    for file in files:
        report.files += 1
        for document, persona in _documents(file, report):
            report.personas += 1
            other = first.setdefault((file.parent, persona.name.lower()), persona)
            if other is not persona:
                where = document.where(("name",))
                report.problems.append(f"{where}: hidden by the persona {other.name} in {other.where}")
            report.problems += _part_problems(document, persona, registry)
            for index, entry in enumerate(persona.adapters):
                key = next(k for k in ("path", "repo", "checkpoint") if getattr(entry, k) is not None)
                where = document.where(("adapters", index, key))
                report.adapters.append(Found(persona, entry, where))
    return report


def _documents(file: Path, report: Report) -> Iterator[tuple[Document, Persona]]:
    """The valid personas of a file; errors of the others are added to the report."""
    before = len(report.problems)
    try:
        documents = safe_yaml.read(file, noted=report.problems)
    except PersonaError as error:
        report.problems.append(error.message)
        return
    if not documents and len(report.problems) == before:
        report.problems.append(f"{where_in(file)}: has no persona")
    for document in documents:
        try:
            yield document, schema.parse_document(document)
        except PersonaError as error:
            report.problems += _apart(error.message, file)


def _part_problems(document: Document, persona: Persona, registry: Registry) -> Iterator[str]:
    """Parts that cannot be resolved, each separately, then weights that are too large in sum."""
    if persona.parts is None:
        return
    where = document.where(("parts",))
    terms = expression.parse(persona.parts)
    resolved = True
    for term in terms:
        try:
            if term.weight and persona.weight:
                resolve([term], registry, persona.weight)
            else:
                registry.get(term.name)
        except MpgError as error:
            resolved = False
            yield f"{where}: {error.message.splitlines()[0]}"
    if resolved:
        try:
            resolve(terms, registry, persona.weight)
        except MpgError as error:
            yield f"{where}: {error.message.splitlines()[0]}"


def _apart(message: str, file: Path) -> list[str]:
    """The problems of a message; one with a caret spans several lines."""
    found: list[str] = []
    for line in message.split("\n"):
        if found and not line.startswith(where_in(file)):
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found
