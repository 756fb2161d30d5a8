"""Overviews of personas, their parts and their experts on a model, by names and files. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.config import paths as folders
from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.personas import expression
from mpg_cli.personas.base import Base
from mpg_cli.personas.expression import Term
from mpg_cli.personas.matching import Match, State, best, fit, state
from mpg_cli.personas.registry import Registry, library_dir, resolve
from mpg_cli.personas.schema import Persona

MAX_NODES = 500  # of a displayed tree


@dataclass(frozen=True)
class Available:
    """An expert that a persona has for the model; `used` if the persona uses it."""

    kind: Literal["adapter", "checkpoint", "prompt"]
    used: bool
    match: Match | None = None
    state: State = "here"

    @property
    def words(self) -> str:
        """The kind with the state, such as `adapter (missing)`."""
        note = {"here": "", "hub": " (to download)", "missing": " (missing)"}[self.state]
        return self.kind + note

    @property
    def basis(self) -> dict[str, str]:
        """For JSON, the entry's base and the evidence for it, if the match is not certain."""
        if self.match is None or self.match.reason is None:
            return {}
        return {"base": self.match.entry.base, "by": self.match.by}


@dataclass(frozen=True)
class Row:
    """A persona of a list; for a composite the experts of its parts by kind, or a `problem`."""

    persona: Persona
    available: tuple[Available, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()  # kinds and how many
    problem: str | None = None

    @property
    def experts(self) -> str:
        """The experts for the model in words, those in use first."""
        if self.problem is not None:
            return "broken"
        if self.persona.parts is not None:
            return ", ".join(f"{n} {kind}" + "s" * (n > 1 and kind != "none") for kind, n in self.parts)
        used = [one.words for one in self.available if one.used]
        rest = [one.words for one in self.available if not one.used]
        return ", ".join([" + ".join(used), *rest] if used else ["none", *rest])


@dataclass(frozen=True)
class Node:
    """A persona in an expression: its weight there, and the effective weight (the product from the top)."""

    persona: Persona
    weight: float
    effective: float
    parts: tuple[Node, ...] = ()
    cut: bool = False  # its parts are not shown


def rows(registry: Registry, base: Base, personas: Iterable[Persona]) -> Iterator[Row]:
    """A row for each persona on the model."""
    for persona in personas:
        yield row(registry, base, persona)


def row(registry: Registry, base: Base, persona: Persona) -> Row:
    """The row of a persona on the model."""
    if persona.parts is None:
        return Row(persona, available(persona, base))
    try:
        blend = resolve([Term(persona.name)], registry)
    except PersonaError as error:
        return Row(persona, problem=error.message)
    kinds = Counter(fit(expert.persona, base).kind or "none" for expert in blend.experts)
    return Row(persona, parts=tuple(kinds.items()))


def available(persona: Persona, base: Base) -> tuple[Available, ...]:
    """The experts of a persona (not a composite), those in use first."""
    chosen = fit(persona, base)
    match = best(persona, base)
    found: list[Available] = []
    if match is not None:
        kind: Literal["adapter", "checkpoint"] = "adapter" if match.entry.checkpoint is None else "checkpoint"
        found.append(Available(kind, chosen.match is not None, match, state(match.entry)))
    if persona.prompt:
        used = chosen.kind == "prompt" or (chosen.match is not None and persona.use == "both")
        found.append(Available("prompt", used))
    return tuple(sorted(found, key=lambda one: not one.used))


def kinds(registry: Registry, base: Base) -> dict[str, list[str]]:
    """Names of personas (without composites) by the kind of expert that they use on the model.

    `missing` has personas whose adapter or checkpoint does not exist, `none` those without any expert.
    """
    found: dict[str, list[str]] = {
        kind: [] for kind in ("adapter", "both", "checkpoint", "prompt", "missing", "none")
    }
    for persona in registry.personas:
        if persona.parts is None:
            fitted = fit(persona, base)
            missing = fitted.match is not None and state(fitted.match.entry) == "missing"
            found["missing" if missing else fitted.kind or "none"].append(persona.name)
    return found


def tagged(registry: Registry, found: Iterable[Persona], tags: Sequence[str]) -> list[Persona]:
    """The personas with all of the tags. Raises UsageError for a tag that no persona of the registry has."""
    wanted = {tag.lower() for tag in tags}
    known = {tag.lower(): tag for one in (*registry.personas, *registry.shadowed) for tag in one.tags}
    for tag in tags:
        if tag.lower() not in known:
            close = did_you_mean(tag, known.values()) or f" (choose from {', '.join(sorted(known.values()))})"
            raise UsageError(f"no persona has the tag '{visible(tag, 60)}'{visible(close)}")
    return [one for one in found if wanted <= {tag.lower() for tag in one.tags}]


def hidden_by(registry: Registry, shadowed: Persona) -> Path:
    """The file that hides a shadowed persona."""
    name = shadowed.name.lower()
    for one in registry.personas:
        if one.name.lower() == name:
            return one.file
    return next(problem.file for problem in registry.problems if name in problem.names)


def tree(terms: Iterable[Term], registry: Registry) -> tuple[Node, ...]:
    """The terms of an expression with the parts of composites and their effective weights.

    Raises PersonaError for unknown names and cyclic composites. The tree is cut at MAX_NODES nodes.
    """
    named = expression.combine(Term(registry.get(term.name).name, term.weight) for term in terms)
    resolve(named, registry)  # no cycles, no unknown parts
    return _Grower(registry).nodes(named, 1.0)


class _Grower:
    """Builds nodes up to MAX_NODES."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._left = MAX_NODES

    def nodes(self, terms: Iterable[Term], above: float) -> tuple[Node, ...]:
        """A node for each term; `above` is the effective weight of the parent."""
        return tuple(self._node(term, above) for term in terms)

    def _node(self, term: Term, above: float) -> Node:
        self._left -= 1
        persona = self._registry.get(term.name)
        weight = expression.exact(term.weight) * expression.exact(persona.weight)
        effective = float(weight * expression.exact(above))
        if persona.parts is None:
            return Node(persona, float(weight), effective)
        terms = expression.parse(persona.parts)
        if len(terms) > self._left:
            return Node(persona, float(weight), effective, cut=True)
        return Node(persona, float(weight), effective, self.nodes(terms, effective))


def place(file: Path) -> str:
    """The short path of a persona file: `library/types.yaml`, `user/me.yaml`, else its path."""
    for label, folder in (("library", library_dir()), ("user", folders.persona_dir())):
        if file.parent == folder:
            return visible(f"{label}/{file.name}")
    return visible(str(file))
