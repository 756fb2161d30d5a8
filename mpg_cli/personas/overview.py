"""What personas are made of and what they become on a model, by names and files alone. Torch-free."""

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

MAX_NODES = 500  # of a tree that is shown


@dataclass(frozen=True)
class Available:
    """An expert that a persona has for the model; `used` says whether it is what the persona becomes."""

    kind: Literal["adapter", "checkpoint", "prompt"]
    used: bool
    match: Match | None = None
    state: State = "here"

    @property
    def words(self) -> str:
        """`adapter`, with what stands in its way."""
        note = {"here": "", "hub": " (to fetch)", "missing": " (missing)"}[self.state]
        return self.kind + note

    @property
    def basis(self) -> dict[str, str]:
        """For JSON, what it was made for and why it is taken, where the model has another name."""
        if self.match is None or self.match.reason is None:
            return {}
        return {"base": self.match.entry.base, "by": self.match.by}


@dataclass(frozen=True)
class Row:
    """A persona of a list. A composite counts the experts of its parts, unless `problem` is in its way."""

    persona: Persona
    available: tuple[Available, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()  # kinds and how many
    problem: str | None = None

    @property
    def experts(self) -> str:
        """What the persona has for the model, in a few words; what it becomes comes first."""
        if self.problem is not None:
            return "broken"
        if self.persona.parts is not None:
            return ", ".join(f"{n} {kind}" + "s" * (n > 1 and kind != "none") for kind, n in self.parts)
        used = [one.words for one in self.available if one.used]
        rest = [one.words for one in self.available if not one.used]
        return ", ".join([" + ".join(used), *rest] if used else ["none", *rest])


@dataclass(frozen=True)
class Node:
    """A persona inside of an expression: its weight there and multiplied out from the top."""

    persona: Persona
    weight: float
    effective: float
    parts: tuple[Node, ...] = ()
    cut: bool = False  # has parts that are not shown


def rows(registry: Registry, base: Base, personas: Iterable[Persona]) -> Iterator[Row]:
    """A row for each persona, on the model."""
    for persona in personas:
        yield row(registry, base, persona)


def row(registry: Registry, base: Base, persona: Persona) -> Row:
    """What the persona has for the model."""
    if persona.parts is None:
        return Row(persona, available(persona, base))
    try:
        blend = resolve([Term(persona.name)], registry)
    except PersonaError as error:
        return Row(persona, problem=error.message)
    kinds = Counter(fit(expert.persona, base).kind or "none" for expert in blend.experts)
    return Row(persona, parts=tuple(kinds.items()))


def available(persona: Persona, base: Base) -> tuple[Available, ...]:
    """The experts of a persona that is no composite, the one that it becomes first."""
    chosen = fit(persona, base)
    match = best(persona, base)
    found: list[Available] = []
    if match is not None:
        kind: Literal["adapter", "checkpoint"] = "adapter" if match.entry.checkpoint is None else "checkpoint"
        found.append(Available(kind, chosen.match is not None, match, state(match.entry)))
    if persona.prompt:
        heard = chosen.kind == "prompt" or (chosen.match is not None and persona.use == "both")
        found.append(Available("prompt", heard))
    return tuple(sorted(found, key=lambda one: not one.used))


def kinds(registry: Registry, base: Base) -> dict[str, list[str]]:
    """Names of personas, composites left out, by the kind of expert that they become on the model.

    `missing` has those whose adapter or checkpoint is not where the file says, `none` those without any
    expert for the model.
    """
    found: dict[str, list[str]] = {
        kind: [] for kind in ("adapter", "both", "checkpoint", "prompt", "missing", "none")
    }
    for persona in registry.personas:
        if persona.parts is None:
            fitted = fit(persona, base)
            gone = fitted.match is not None and state(fitted.match.entry) == "missing"
            found["missing" if gone else fitted.kind or "none"].append(persona.name)
    return found


def tagged(registry: Registry, found: Iterable[Persona], tags: Sequence[str]) -> list[Persona]:
    """Those with all of the tags. Raises UsageError for a tag that no persona of the registry has."""
    wanted = {tag.lower() for tag in tags}
    there = {tag.lower(): tag for one in (*registry.personas, *registry.shadowed) for tag in one.tags}
    for tag in tags:
        if tag.lower() not in there:
            close = did_you_mean(tag, there.values()) or f"; there are {', '.join(sorted(there.values()))}"
            raise UsageError(f"no persona has the tag '{visible(tag, 60)}'{visible(close)}")
    return [one for one in found if wanted <= {tag.lower() for tag in one.tags}]


def hidden_by(registry: Registry, shadowed: Persona) -> Path:
    """The file that is found before the one of the same name."""
    name = shadowed.name.lower()
    for one in registry.personas:
        if one.name.lower() == name:
            return one.file
    return next(problem.file for problem in registry.problems if name in problem.names)


def tree(terms: Iterable[Term], registry: Registry) -> tuple[Node, ...]:
    """The terms of an expression with all that their composites hold, weights multiplied out.

    Raises PersonaError for unknown names and for composites without an end. A tree of more than MAX_NODES
    nodes is cut.
    """
    named = expression.combine(Term(registry.get(term.name).name, term.weight) for term in terms)
    resolve(named, registry)  # no cycles, no unknown parts
    return _Grower(registry).nodes(named, 1.0)


class _Grower:
    """Makes nodes, at most so many."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._left = MAX_NODES

    def nodes(self, terms: Iterable[Term], above: float) -> tuple[Node, ...]:
        """A node for each term, `above` being the weight of what holds them."""
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
    """Where a persona file lies, in short: `library/types.yaml`, `user/me.yaml`, else its path."""
    for label, folder in (("library", library_dir()), ("user", folders.persona_dir())):
        if file.parent == folder:
            return visible(f"{label}/{file.name}")
    return visible(str(file))
