"""Chooses the adapter entry of a persona for a model, and reports the choice. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mpg_cli.errors import AdapterError, ModelError, PersonaError
from mpg_cli.io.text import visible
from mpg_cli.personas.base import Base
from mpg_cli.personas.matching import ExpertKind, Match, fitting_by_shapes, may_fit, ranked, state
from mpg_cli.personas.schema import Persona

T = TypeVar("T")


@dataclass(frozen=True)
class ExpertInfo:
    """One expert of the blend: name, kind and weight."""

    name: str
    kind: ExpertKind
    weight: float


@dataclass(frozen=True)
class Taken(Generic[T]):
    """The chosen entry, and the expert made from it."""

    match: Match
    made: T


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The entry chosen for a persona (None: its prompt), and the other candidates."""

    persona: Persona
    taken: Taken[T] | None
    passed: tuple[tuple[Match, str], ...]  # with the reason


def choose(persona: Persona, base: Base, make: Callable[[Match], T]) -> Choice[T]:
    """The best entry for which `make` succeeds.

    `make` raises AdapterError or ModelError for an entry that cannot be downloaded or does not fit. The error
    is passed on if the entry is certainly for the model; otherwise the next entry is tried. Entries that
    match by shapes alone are not downloaded.
    """
    passed: list[tuple[Match, str]] = []
    matches = ranked(persona, base) if persona.use != "prompt" else ()
    for place, match in enumerate(matches, 1):
        if match.by == "shapes" and state(match.entry) == "hub":
            passed.append((match, "it is not on this disk, and matches by shapes alone are not downloaded"))
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
                passed += ((other, f"the {match.words} has priority") for other in others)
            return Choice(persona, taken, tuple(passed))
    return Choice(persona, None, tuple(passed))


def check_prompt(choice: Choice[T], base: Base, model: str) -> str:
    """The prompt that replaces a missing entry. Raises PersonaError if there is none or `use` forbids it."""
    persona = choice.persona
    insists = persona.use in ("adapter", "both")
    if persona.prompt and not insists:
        return persona.prompt
    if insists:
        bases = ", ".join(dict.fromkeys(e.base for e in persona.adapters)) or "no model"
        text = f"{persona.name} requires an adapter and has one for {visible(bases, 200)}, not for {model}"
        hint = "choose another --model, or `use: auto` to fall back on the prompt"
    else:
        text = f"{persona.name} has neither a prompt nor an adapter for {model}"
        hint = "add a `prompt:` to the persona, or an `adapters:` entry with that base"
    lines = [f"{persona.where}: {text}", *(f"  - {match.words}: {why}" for match, why in choice.passed)]
    if others := fitting_by_shapes(persona, base):
        bases = _list(dict.fromkeys(entry.base for entry in others))
        hint = f"set `use: adapter` to use the one for {bases}, whose shapes fit; or {hint}"
    raise PersonaError("\n".join(lines), hint=hint)


def notices(choices: Sequence[Choice[T]], base: Base, model: str) -> Iterator[str]:
    """Notices about all personas without an adapter for exactly this model, grouped by message."""
    found: dict[str, list[str]] = {}
    on_prompts: list[Persona] = []
    for choice in choices:
        name = choice.persona.name
        for match, why in choice.passed:
            found.setdefault(f"{match.words} is not used: {why}", []).append(name)
        if choice.taken is not None and (reason := choice.taken.match.reason):
            found.setdefault(f"{choice.taken.match.words} is used, {reason}", []).append(name)
        if choice.taken is None and choice.persona.adapters and choice.persona.use == "auto":
            on_prompts.append(choice.persona)
    yield from (f"{', '.join(names)}: {text}" for text, names in found.items())
    if on_prompts:
        names = ", ".join(persona.name for persona in on_prompts)
        yield f"no adapter for {model}, using the system prompt: {names}{_bases(on_prompts, base)}"


def _bases(personas: Sequence[Persona], base: Base) -> str:
    """The base models of their adapters, and how to use one that fits by its shapes."""
    bases = dict.fromkeys(entry.base for one in personas for entry in one.adapters)
    fitting = dict.fromkeys(entry.base for one in personas for entry in fitting_by_shapes(one, base))
    text = f" (their adapters are for {_list(bases)})"
    if fitting:
        text += f"; {_list(fitting)} has the same shapes: use its adapters with `use: adapter` or --adapter"
    return text


def _list(names: Iterable[str]) -> str:
    """Up to five names, escaped."""
    return ", ".join(visible(name, 80) for name in list(names)[:5])


def _brief(message: str) -> str:
    """The first problem of a message that lists several, else its first line."""
    first, *problems = message.splitlines()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0].strip(" -") + more if problems else first
