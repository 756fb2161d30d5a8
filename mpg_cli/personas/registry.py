"""Finds personas on the search path and resolves expressions to blends."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from mpg_cli.config import paths as folders
from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.personas import expression, schema
from mpg_cli.personas.expression import Term
from mpg_cli.personas.schema import Persona

MAX_WEIGHT = 10  # of one expert, after adding
MAX_DEPTH = 16  # of composites inside composites

_SUFFIXES = (".yaml", ".yml")
_NAME_LINE = re.compile(r"^[ \t\"']*name[\"']?[ \t]*:[ \t\"']*([A-Za-z][A-Za-z0-9_-]*)", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """An invalid persona file or document; `names` are the personas that it may define."""

    file: Path
    message: str
    names: frozenset[str]  # in lower case


class Registry:
    """The personas of several folders; the first persona of a name hides later ones, or extends the next."""

    def __init__(self, directories: Sequence[Path], found: Iterable[Persona | Problem]) -> None:
        self.directories = tuple(directories)
        self._first: dict[str, Persona] = {}
        self._blocked: dict[str, Problem] = {}
        shadowed: list[Persona] = []
        problems: list[Problem] = []
        for item in found:
            if isinstance(item, Problem):
                problems.append(item)
                # An invalid file also hides later personas of its names: they would not be the
                # persona that the user wrote.
                for name in item.names - self._first.keys():
                    self._blocked.setdefault(name, item)
            elif item.name.lower() in self._first or item.name.lower() in self._blocked:
                shadowed.append(item)
            else:
                self._first[item.name.lower()] = item
        for name, first in self._first.items():
            if first.extends:
                later = [persona for persona in shadowed if persona.name.lower() == name]
                self._first[name] = _extended(first, later)
        self.personas = tuple(self._first.values())
        self.shadowed = tuple(shadowed)
        self.problems = tuple(problems)

    @classmethod
    def load(cls, directories: Iterable[Path]) -> Registry:
        """Load `*.yaml` and `*.yml` of each folder; missing and repeated folders are skipped."""
        unique: dict[Path, Path] = {}
        for directory in directories:
            unique.setdefault(Path(os.path.realpath(directory)), directory)
        found = (item for directory in unique.values() for item in _read_directory(directory))
        return cls(tuple(unique.values()), found)

    def get(self, name: str) -> Persona:
        """The persona of that name, ignoring case. Raises PersonaError."""
        persona = self._first.get(name.lower())
        if persona is not None:
            return persona
        problem = self._blocked.get(name.lower())
        if problem is not None:
            raise PersonaError(
                f"the persona '{visible(name, 60)}' cannot be used, its file is invalid:\n{problem.message}"
            )
        close = did_you_mean(name, (known.name for known in self.personas))
        raise PersonaError(f"unknown persona '{visible(name, 60)}'{close}", hint=self._search_hint())

    def _search_hint(self) -> str:
        places = [
            visible(os.path.join(os.curdir, directory)) + ("" if os.path.isdir(directory) else " (missing)")
            for directory in self.directories
        ]
        hint = f"searched in: {', '.join(places) or 'no folder'}"
        if self.problems:
            files = ", ".join(dict.fromkeys(visible(str(problem.file)) for problem in self.problems))
            hint += f"; skipped invalid files: {files}"
        return hint


def _extended(persona: Persona, later: Sequence[Persona]) -> Persona:
    """The persona with the adapters of the next of its name, of the one after that if that extends it, …"""
    adapters = persona.adapters
    for other in later:
        adapters += tuple(entry for entry in other.adapters if entry not in adapters)
        if not other.extends:
            break
    return replace(persona, adapters=adapters)


@dataclass(frozen=True)
class BlendExpert:
    """One persona with a prompt or adapters, and its effective weight."""

    persona: Persona
    weight: float


@dataclass(frozen=True)
class Blend:
    """Experts in order of first appearance, and the canonical expression that resolves to them."""

    expression: str
    experts: tuple[BlendExpert, ...]

    @property
    def negative(self) -> tuple[str, ...]:
        """Names of experts with a negative weight, which a mixture does not allow."""
        return tuple(expert.persona.name for expert in self.experts if expert.weight < 0)

    @property
    def with_prompts(self) -> Blend:
        """The same personas through their system prompts, on models that they have adapters for, too."""
        experts = (replace(own, persona=replace(own.persona, use="prompt")) for own in self.experts)
        return replace(self, experts=tuple(experts))


def library_dir(data: Path = folders.DATA) -> Path | None:
    """The bundled persona library: in the package's data, or beside the package in a checkout."""
    if (data / "personas").is_dir():
        return data / "personas"
    root = data.parents[1]
    # site-packages may contain a package `personas`; a checkout also has pyproject.toml.
    beside = root / "personas"
    return beside if beside.is_dir() and (root / "pyproject.toml").is_file() else None


def search_path(persona_dirs: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The search path, first to last: `persona_dirs`, MPG_PERSONA_PATH, ./personas, user, library."""
    environment = os.environ.get("MPG_PERSONA_PATH", "").split(os.pathsep)
    library = library_dir()
    return (
        *persona_dirs,
        *(Path(os.path.expanduser(entry)) for entry in environment if entry),
        Path("personas"),
        folders.persona_dir(),
        *([library] if library else []),
    )


def load_default(persona_dirs: Sequence[Path] = ()) -> Registry:
    """The registry of the search path. Raises UsageError for a `persona_dirs` entry that is not a folder."""
    for directory in persona_dirs:
        if not os.path.isdir(directory):
            raise UsageError(f"--persona-dir {visible(str(directory))}: no such folder")
    return Registry.load(search_path(persona_dirs))


def resolve(terms: Iterable[Term], registry: Registry, scale: float = 1.0) -> Blend:
    """The blend of `terms`: composites expanded, weights multiplied, repeated experts added.

    The effective weight of an expert is `scale` × term × file × weight in the composite; experts with a sum
    of zero are dropped. Raises PersonaError for unknown names, cycles, weights beyond ±10 and an empty blend.
    """
    if not math.isfinite(scale):
        raise UsageError("--scale must be a finite number")
    named = expression.combine(Term(registry.get(term.name).name, term.weight) for term in terms)
    scaled = [
        Term(term.name, float(expression.exact(term.weight) * expression.exact(scale))) for term in named
    ]
    expander = _Expander(registry)
    sums: dict[str, Decimal] = {}
    for term in scaled:
        _add(sums, expander.experts(registry.get(term.name)), expression.exact(term.weight))
    experts = tuple(BlendExpert(registry.get(name), float(weight)) for name, weight in sums.items() if weight)
    for expert in experts:
        if not abs(expert.weight) <= MAX_WEIGHT:
            weight = expression.format_weight(expert.weight)
            raise PersonaError(
                f"the weight of {expert.persona.name} comes to {weight}, beyond ±{MAX_WEIGHT}",
                hint="it is the sum of scale × weight in the expression × weight in the file",
            )
    if not experts:
        raise PersonaError("the blend is empty: every weight is zero")
    return Blend(expression.format_expression(term for term in scaled if term.weight), experts)


class _Expander:
    """Expands personas to experts with weights; each composite is expanded once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.known: dict[str, dict[str, Decimal]] = {}

    def experts(self, persona: Persona, chain: tuple[str, ...] = ()) -> dict[str, Decimal]:
        """The weight of each expert by name; `chain` are the enclosing composites."""
        if persona.parts is None:
            return {persona.name: expression.exact(persona.weight)}
        chain = (*chain, persona.name)
        if persona.name in chain[:-1]:
            cycle = " → ".join(chain[chain.index(persona.name) :])
            raise PersonaError(f"{persona.where}: parts: a composite contains itself: {cycle}")
        if len(chain) > MAX_DEPTH:
            path = " → ".join(chain)
            raise PersonaError(f"{persona.where}: parts: composites nested deeper than {MAX_DEPTH}: {path}")
        if persona.name not in self.known:
            sums: dict[str, Decimal] = {}
            for term in expression.parse(persona.parts):
                weight = expression.exact(term.weight) * expression.exact(persona.weight)
                _add(sums, self.experts(self._part(persona, term), chain), weight)
            self.known[persona.name] = sums
        return self.known[persona.name]

    def _part(self, composite: Persona, term: Term) -> Persona:
        try:
            return self.registry.get(term.name)
        except PersonaError as error:
            message = f"{composite.where}: parts of {composite.name}: {error.message}"
            raise PersonaError(message, hint=error.hint) from None


def _add(sums: dict[str, Decimal], experts: dict[str, Decimal], weight: Decimal) -> None:
    for name, inside in experts.items():
        sums[name] = sums.get(name, Decimal(0)) + inside * weight


def persona_files(directory: Path) -> list[Path]:
    """The persona files of a folder, sorted by name. Raises OSError."""
    return sorted(
        file
        for file in directory.iterdir()
        if file.suffix in _SUFFIXES and not file.name.startswith(".") and os.path.isfile(file)
    )


def _read_directory(directory: Path) -> Iterator[Persona | Problem]:
    try:
        files = persona_files(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        message = f"{visible(str(directory))}: cannot be read: {error.strerror}"
        yield Problem(directory, message, frozenset())
        return
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Persona | Problem]:
    """The personas and problems of a file; broken YAML is a problem of the whole file."""
    try:
        documents = safe_yaml.read(file)
    except PersonaError as error:
        yield Problem(file, error.message, _possible_names(file))
        return
    for document in documents:
        try:
            yield schema.parse_document(document)
        except PersonaError as error:
            name = document.data.get("name")
            names = {name.strip().lower()} if isinstance(name, str) else {file.stem.lower()}
            yield Problem(file, error.message, frozenset(names))


def _possible_names(file: Path) -> frozenset[str]:
    """Names that a file with broken YAML may define: its stem, and values of lines that look like `name:`."""
    try:
        with file.open("rb") as stream:
            text = stream.read(safe_yaml.MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        text = ""
    return frozenset({file.stem.lower(), *(match.lower() for match in _NAME_LINE.findall(text))})
