"""The blends of the report, and what a reply must show to count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpg_cli.personas import expression
from mpg_cli.personas.persona_data import CHARACTERS, NAMES, POLES

PLAIN = ""  # the base alone
SINGLES = NAMES
PAIRS = (  # every pole and every character
    "E+coach",
    "I+noir",
    "S+grandmother",
    "N+bard",
    "T+robot",
    "F+zen",
    "J+stoic",
    "P+pirate",
    "T+scientist",
)
TYPES = ("INTJ+pirate", "ENFP+bard", "ISTJ+robot", "ESFP+grandmother")
UNRESTRICTED = ", unrestricted"  # ends the name of a blend that is sampled with --expert-min-p 0
FREE = tuple(blend + UNRESTRICTED for blend in ("E+coach", "I+noir", "F+zen", "J+stoic", "INTJ+pirate"))
MOST_MISSED = 1  # of a type's four poles


@dataclass(frozen=True)
class Sought:
    """The poles and the characters that a blend is made of."""

    poles: tuple[str, ...]
    characters: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.poles, *self.characters)

    def shown(self, found: Mapping[str, bool]) -> bool:
        """Whether a reply in which a judge found these personas shows the blend.

        All of them must be there; of four poles one may be missing.
        """
        missed = sum(not found[name] for name in self.poles)
        return missed <= MOST_MISSED * (len(self.poles) == 4) and all(found[name] for name in self.characters)


def sought(blend: str) -> Sought:
    """What to look for in the replies of a blend of poles, types and characters."""
    blend = blend.removesuffix(UNRESTRICTED)
    names = [term.name for term in expression.parse(blend)] if blend else []
    poles = [pole for name in names if name not in CHARACTERS for pole in name]
    assert all(pole in POLES for pole in poles), blend
    return Sought(tuple(poles), tuple(name for name in names if name in CHARACTERS))
