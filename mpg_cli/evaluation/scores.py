"""From log-probabilities of options to a score per dimension with its interval, and a type. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

from mpg_cli.evaluation.questionnaire import DIMENSIONS, Item

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """The mean of a dimension's items and its 95 % interval; 1 is all first pole, -1 all second, 0 neither.

    `first` counts the items that lean to the first pole.
    """

    dimension: str
    value: float
    low: float
    high: float
    items: int
    first: int

    @property
    def pole(self) -> str:
        """The pole that the score leans to."""
        return self.dimension[0] if self.value > 0 else self.dimension[1]

    @property
    def excludes_chance(self) -> bool:
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, Any]:
        return {
            "dimension": self.dimension,
            "score": self.value,
            "interval": [self.low, self.high],
            "items": self.items,
            "leaning_first": self.first,
        }


@dataclass(frozen=True)
class Sheet:
    """The answers of one blend, one in [-1, 1] per item, and the scores."""

    persona: str
    answers: tuple[float, ...]
    scores: tuple[Score, ...]

    @property
    def type(self) -> str:
        """One letter per dimension."""
        return "".join(score.pole for score in self.scores)


def answer(item: Item, log_probs: Sequence[float]) -> float:
    """The expected value of an item's options under their length-normalised log-probabilities.

    For two options at -1 and 1 that is tanh of half the difference. If all are -inf, they count as equal.
    """
    most = max(log_probs)
    if most == -math.inf:
        return answer(item, [0.0] * len(log_probs))
    weights = [math.exp(log_prob - most) for log_prob in log_probs]
    pairs = zip(weights, item.options, strict=True)
    return sum(weight * option.value for weight, option in pairs) / sum(weights)


def sheet(persona: str, items: Sequence[Item], answers: Sequence[float]) -> Sheet:
    """The scores of all dimensions that have items."""
    return Sheet(persona, tuple(answers), _scores(items, answers))


def shift(items: Sequence[Item], blend: Sheet, base: Sheet) -> tuple[Score, ...]:
    """The scores of the item-wise differences between blend and base."""
    pairs = zip(blend.answers, base.answers, strict=True)
    return _scores(items, [ours - theirs for ours, theirs in pairs])


def _scores(items: Sequence[Item], answers: Sequence[float]) -> tuple[Score, ...]:
    found = []
    for dimension in DIMENSIONS:
        pairs = zip(items, answers, strict=True)
        own = [value for item, value in pairs if item.dimension == dimension]
        if own:
            mean = fmean(own)
            half = t_quantile(len(own) - 1) * stdev(own) / math.sqrt(len(own))
            first = sum(value > 0 for value in own)
            found.append(Score(dimension, mean, mean - half, mean + half, len(own), first))
    return tuple(found)


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t, by the expansion of Cornish and Fisher.

    Within 0.5 % of the exact value from 3 degrees of freedom on, at 95 %.
    """
    z: float = NormalDist().inv_cdf((1 + confidence) / 2)
    terms: tuple[float, ...] = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(freedom**power) for power, term in enumerate(terms))
