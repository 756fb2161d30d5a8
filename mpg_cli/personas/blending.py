"""Resolves the options for personas and adapters to a blend. Torch-free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from mpg_cli.errors import UsageError, caused_by
from mpg_cli.io.text import check_text
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.readers import finite, quoted
from mpg_cli.personas import expression, registry
from mpg_cli.personas.adapter_place import AdapterPlace, adapter_place
from mpg_cli.personas.expression import exact, format_weight
from mpg_cli.personas.registry import MAX_WEIGHT, Blend

_WEIGHT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True)
class Experts:
    """The personas (None without any) and the adapters of a blend; weights include the scale."""

    blend: Blend | None = None
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all experts, as written in the blend."""
        personas = [expert.persona.name for expert in self.blend.experts] if self.blend else []
        return (*personas, *(place.name for place, _ in self.adapters))

    @property
    def expression(self) -> str:
        """The canonical expression of the blend; adapters appear by the name of their folder."""
        terms = [self.blend.expression] if self.blend else []
        for place, weight in self.adapters:
            terms.append(place.name if weight == 1 else f"{place.name}:{format_weight(weight)}")
        return "+".join(terms)


def resolve(options: BlendOptions, target: str) -> Experts:
    """The experts that the options name. Raises UsageError and its subclasses for unknown or missing
    personas, and for weights that the target does not allow.
    """
    if not (options.personas or options.adapters):
        hint = "add --persona NAME, for instance -p pirate, or --adapter PATH"
        raise UsageError("a persona is missing", hint=hint)
    blend = None
    if options.personas:
        known = registry.load_default(list(options.persona_dirs))
        with caused_by("--persona"):
            terms = [term for text in options.personas for term in expression.parse(text)]
            blend = registry.resolve(terms, known, options.scale)
    experts = Experts(blend, read_adapters(options.adapters, options.scale))
    check_weights(experts, target)
    return experts


def check_weights(experts: Experts, target: str) -> None:
    """Raise UsageError for an empty blend, and for a mixture with a negative weight."""
    if experts.blend is None and not experts.adapters:
        raise UsageError("the blend is empty: every weight is zero")
    if target == "mixture":
        negative = [
            *(experts.blend.negative if experts.blend else ()),
            *(str(place) for place, weight in experts.adapters if weight < 0),
        ]
        if negative:
            raise UsageError(
                f"--target mixture does not allow negative weights: {', '.join(negative)}",
                hint="use --target product, where a negative weight steers away from a persona",
            )


def read_adapters(texts: Iterable[str], scale: float) -> tuple[tuple[AdapterPlace, float], ...]:
    """Adapters from PLACE[:WEIGHT], weights times `scale`; repeated places add up, zero sums are dropped."""
    sums: dict[str, Decimal] = {}  # by AdapterPlace.identity
    spelled: dict[str, AdapterPlace] = {}
    for text in texts:
        place, weight = _adapter(text)
        spelled.setdefault(place.identity, place)
        sums[place.identity] = sums.get(place.identity, Decimal(0)) + exact(weight) * exact(scale)
    for identity, total in sums.items():
        if abs(total) > MAX_WEIGHT:
            shown = quoted(str(spelled[identity]))
            message = f"the weight of --adapter {shown} comes to {total:g}, beyond ±{MAX_WEIGHT}"
            raise UsageError(message, hint="it is --scale times the weight after the colon")
    return tuple((spelled[identity], float(total)) for identity, total in sums.items() if total)


def _adapter(text: str) -> tuple[AdapterPlace, float]:
    """An adapter from PLACE or PLACE:WEIGHT; an existing path may contain colons."""
    head, colon, tail = text.rpartition(":")
    weighted = bool(colon) and _is_number(tail) and not os.path.exists(os.path.expanduser(text))
    if weighted and _WEIGHT.fullmatch(tail.strip()) is None:
        raise UsageError(f"--adapter {quoted(text)}: the weight must be a finite number, such as 0.5")
    path = head if weighted else text
    if not path.strip():
        hint = "as in --adapter adapters/pirate:0.5 or --adapter OWNER/NAME"
        raise UsageError(f"--adapter {quoted(text)} has no path", hint=hint)
    return adapter_place(check_text("--adapter", path)), float(tail) if weighted else 1.0


def two_weights(flag: str, text: str, scale: float) -> tuple[float, float]:
    """The weights of `P:Q`, each times `scale`."""
    numbers = [finite(part) for part in text.split(":") if _WEIGHT.fullmatch(part.strip())]
    if len(numbers) != 2 or text.count(":") != 1:
        raise UsageError(f"{flag} {quoted(text)} is not two weights", hint=f"as in {flag} 1:0.5")
    first, second = (float(exact(number or 0.0) * exact(scale)) for number in numbers)
    if max(abs(first), abs(second)) > MAX_WEIGHT:
        raise UsageError(f"{flag} {quoted(text)} comes to a weight beyond ±{MAX_WEIGHT}")
    return first, second


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False  # the colon is part of the path
    return True
