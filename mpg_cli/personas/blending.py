"""From the options that name personas and adapters to a blend. Torch-free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from mpg_cli.errors import UsageError
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
    """The personas (None: none) and the adapters of a blend, weights with the scale in them."""

    blend: Blend | None = None
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all experts, as they are written in the blend."""
        personas = [expert.persona.name for expert in self.blend.experts] if self.blend else []
        return (*personas, *(place.name for place, _ in self.adapters))

    @property
    def expression(self) -> str:
        """The blend as one canonical expression; adapters by the name of their folder."""
        terms = [self.blend.expression] if self.blend else []
        for place, weight in self.adapters:
            terms.append(place.name if weight == 1 else f"{place.name}:{format_weight(weight)}")
        return "+".join(terms)


def resolve(options: BlendOptions, target: str) -> Experts:
    """The experts that the options name. Raises UsageError and its kinds for what is unknown or missing, and
    for weights that the target cannot have.
    """
    if not (options.personas or options.adapters):
        hint = "add --persona NAME, for instance -p pirate, or --adapter PATH"
        raise UsageError("a persona is missing", hint=hint)
    blend = None
    if options.personas:
        terms = [term for text in options.personas for term in expression.parse(text)]
        blend = registry.resolve(terms, registry.load_default(list(options.persona_dirs)), options.scale)
    experts = Experts(blend, read_adapters(options.adapters, options.scale))
    check_weights(experts, target)
    return experts


def check_weights(experts: Experts, target: str) -> None:
    """Raise UsageError for a blend of nothing, and for a mixture with a negative weight."""
    if experts.blend is None and not experts.adapters:
        raise UsageError("nothing is left in the blend: every weight is zero")
    if target == "mixture":
        negative = [
            *(experts.blend.negative if experts.blend else ()),
            *(str(place) for place, weight in experts.adapters if weight < 0),
        ]
        if negative:
            raise UsageError(
                f"a mixture has no negative weights, {', '.join(negative)} has one",
                hint="use --target product, where a negative weight pushes a persona away",
            )


def read_adapters(texts: Iterable[str], scale: float) -> tuple[tuple[AdapterPlace, float], ...]:
    """PLACE[:WEIGHT], weights times `scale`; the same place twice adds up, a sum of zero drops out."""
    sums: dict[str, Decimal] = {}  # by the place meant, however it is spelled
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
    """PLACE or PLACE:WEIGHT; what exists as it is spelled is a path, colons and all."""
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
    """`P:Q`, each times `scale`."""
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
        return False  # the colon belongs to the path
    return True
