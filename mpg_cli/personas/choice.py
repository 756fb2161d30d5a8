"""Which entry of a persona is taken on a model, and what the user hears about it. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mpg_cli.errors import AdapterError, ModelError, PersonaError
from mpg_cli.io.text import visible
from mpg_cli.personas.base import Base
from mpg_cli.personas.matching import ExpertKind, Match, may_fit, of_other_names, ranked, state
from mpg_cli.personas.schema import Persona

T = TypeVar("T")


@dataclass(frozen=True)
class ExpertInfo:
    """One expert of the blend: what it is and how strongly it counts."""

    name: str
    kind: ExpertKind
    weight: float


@dataclass(frozen=True)
class Taken(Generic[T]):
    """An entry, and what was made of it."""

    match: Match
    made: T


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What a persona becomes: the entry taken (None: its prompt), and others that might have been."""

    persona: Persona
    taken: Taken[T] | None
    passed: tuple[tuple[Match, str], ...]  # with the reason why not


def choose(persona: Persona, base: Base, make: Callable[[Match], T]) -> Choice[T]:
    """The best entry that `make` makes something of.

    `make` raises AdapterError or ModelError for what cannot be fetched or does not fit. That is raised again
    where the entry is certainly for the model; else the next one has its turn. Nothing is fetched for its
    shapes alone.
    """
    passed: list[tuple[Match, str]] = []
    matches = ranked(persona, base) if persona.use != "prompt" else ()
    for place, match in enumerate(matches, 1):
        if match.by == "shapes" and state(match.entry) == "hub":
            passed.append((match, "it is not on this disk, and not fetched for its shapes alone"))
            continue
        try:
            taken = Taken(match, make(match))
        except (AdapterError, ModelError) as error:
            if match.certain:
                raise
            passed.append((match, _brief(error.message)))
        else:
            if not match.certain:
                others = (other for other in matches[place:] if may_fit(other, base))
                passed += ((other, f"the {match.words} comes first") for other in others)
            return Choice(persona, taken, tuple(passed))
    return Choice(persona, None, tuple(passed))


def check_prompt(choice: Choice[T], base: Base, model: str) -> str:
    """The prompt that stands in where no entry is taken. Raises PersonaError where none may."""
    persona = choice.persona
    insists = persona.use in ("adapter", "both")
    if persona.prompt and not insists:
        return persona.prompt
    if insists:
        bases = ", ".join(dict.fromkeys(e.base for e in persona.adapters)) or "no model"
        text = f"{persona.name} asks for an adapter and has one for {visible(bases, 200)}, not for {model}"
        hint = "choose another --model, or `use: auto` to fall back on the prompt"
    else:
        text = f"{persona.name} has neither a prompt nor an adapter for {model}"
        hint = "add a `prompt:` to the persona, or an `adapters:` entry with that base"
    lines = [f"{persona.where}: {text}", *(f"  - {match.words}: {why}" for match, why in choice.passed)]
    if others := of_other_names(persona, base):
        bases = _list(dict.fromkeys(entry.base for entry in others))
        hint = f"`use: adapter` takes the one for {bases}, which fits by its shapes; or {hint}"
    raise PersonaError("\n".join(lines), hint=hint)


def told(choices: Sequence[Choice[T]], base: Base, model: str) -> Iterator[str]:
    """Notices about all that is not an adapter for the model of this very name, like ones together."""
    found: dict[str, list[str]] = {}
    fallen: list[Persona] = []
    for choice in choices:
        name = choice.persona.name
        for match, why in choice.passed:
            found.setdefault(f"{match.words} is not used: {why}", []).append(name)
        if choice.taken is not None and (reason := choice.taken.match.reason):
            found.setdefault(f"{choice.taken.match.words} is used, {reason}", []).append(name)
        if choice.taken is None and choice.persona.adapters and choice.persona.use == "auto":
            fallen.append(choice.persona)
    yield from (f"{', '.join(names)}: {text}" for text, names in found.items())
    if fallen:
        names = ", ".join(persona.name for persona in fallen)
        yield f"no adapter for {model}, so the system prompt is the expert: {names}{_theirs(fallen, base)}"


def _theirs(personas: Sequence[Persona], base: Base) -> str:
    """What models their adapters are for, and how to take one that fits all the same."""
    bases = dict.fromkeys(entry.base for one in personas for entry in one.adapters)
    fitting = dict.fromkeys(entry.base for one in personas for entry in of_other_names(one, base))
    text = f" (theirs are for {_list(bases)})"
    if fitting:
        text += f"; {_list(fitting)} has these shapes: `use: adapter` or --adapter takes its adapters"
    return text


def _list(names: Iterable[str]) -> str:
    """A few names, safe to print."""
    return ", ".join(visible(name, 80) for name in list(names)[:5])


def _brief(message: str) -> str:
    """The first of the problems, where a message lists some."""
    first, *problems = message.splitlines()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0].strip(" -") + more if problems else first
