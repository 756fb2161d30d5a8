"""Search of weights for a method: common scales first, then a raise for the least shown persona.

Every method with weights gets the same number of trials, on the tuning questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpg_cli.evaluation.metrics import Metrics
from studies.blends.bench import Weights

SCALES = (0.5, 0.7, 1.0, 1.25)
RAISES = 1
RAISE = 1.25


@dataclass(frozen=True)
class Tried:
    """Weights and their results on the tuning questions."""

    weights: Weights
    least: float
    mean: float
    fluency: float

    @property
    def rank(self) -> tuple[float, float, float]:
        """Sort key, larger is better: minimum presence, then mean, then fluency."""
        return self.least, self.mean, self.fluency


def tried(weights: Weights, measured: Metrics) -> Tried:
    assert measured.least is not None
    assert measured.mean is not None
    fluency = measured.fluency.value if measured.fluency else float("-inf")
    return Tried(weights, measured.least.value, measured.mean.value, fluency)


def search(
    names: Sequence[str], measure: Callable[[Weights], Metrics], scales: Sequence[float] = SCALES
) -> list[Tried]:
    """All trials, the best first."""
    found: list[tuple[Tried, Metrics]] = []

    def attempt(weights: Weights) -> None:
        measured = measure(weights)
        found.append((tried(weights, measured), measured))
        found.sort(key=lambda pair: pair[0].rank, reverse=True)

    for scale in scales:
        attempt(dict.fromkeys(names, scale))
    for _ in range(RAISES if len(names) > 1 else 0):
        best, measured = found[0]
        shown = [estimate.value for estimate in measured.presence]
        weakest = names[shown.index(min(shown))]
        raised = {**best.weights, weakest: round(best.weights[weakest] * RAISE, 3)}
        if any(raised == own.weights for own, _ in found):
            break
        attempt(raised)
    return [own for own, _ in found]
