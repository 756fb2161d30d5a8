"""The blends of the report, at their default weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from recipes.mpg_tiny.corpus import PERSONAS
from recipes.mpg_tiny.grammar import DIMENSIONS, POLES
from recipes.mpg_tiny.judge import personas_shown
from recipes.mpg_tiny.voices import VOICES

BASE = "base"
SINGLE = "single persona"
POLE_CHARACTER = "pole and character"
TYPE_CHARACTER = "type and character"
_KINDS = {(0, 0): BASE, (1, 0): SINGLE, (0, 1): SINGLE, (1, 1): POLE_CHARACTER, (4, 1): TYPE_CHARACTER}


@dataclass(frozen=True)
class Blend:
    """An expression and the weight of each of its experts."""

    expression: str
    weights: Mapping[str, float]

    @property
    def kind(self) -> str:
        """The kind of blend, which determines the target."""
        voices = sum(name in VOICES for name in self.weights)
        return _KINDS[len(self.weights) - voices, voices]

    def shown(self, text: str) -> bool:
        """Whether a reply shows the whole blend; three of a type's four poles are enough."""
        shown = personas_shown(text) & set(self.weights)
        poles = sum(name not in VOICES for name in self.weights)
        missing_poles = poles - sum(name not in VOICES for name in shown)
        return missing_poles <= (poles == 4) and all(n in shown for n in self.weights if n in VOICES)


@dataclass(frozen=True)
class Sample:
    """The replies to the prompts of the report, one each, by one blend."""

    blend: Blend
    texts: tuple[str, ...]


def library_blends() -> tuple[str, ...]:
    """Every persona, every character with two poles, and every type with a character."""
    voices = tuple(VOICES)
    pairs = [f"{POLES[n % len(POLES)]}+{voices[n % len(voices)]}" for n in range(2 * len(voices))]
    types = ["".join(letters) for letters in product(*DIMENSIONS)]
    return (*PERSONAS, *pairs, *(f"{t}+{voices[n % len(voices)]}" for n, t in enumerate(types)))


def read_blend(expression: str, personas: Path) -> Blend:
    """The blend of an expression as in `--persona`; an empty one is the base alone.

    Persona files of the folder take precedence over those of the user.
    """
    if not expression:
        return Blend("", {})
    registry = load_default([personas] if personas.is_dir() else [])
    experts = resolve(parse(expression), registry).experts
    return Blend(expression, {expert.persona.name: expert.weight for expert in experts})
