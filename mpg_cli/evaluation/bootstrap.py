"""Paired bootstrap over prompts: every compared method is resampled with the same indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95

Values = NDArray[np.float64]
Statistic = Callable[[Values], Values]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "interval": [self.low, self.high]}


def mean_of_means(means: Values) -> Values:
    """(…, K) means of personas → their mean (…)."""
    return np.asarray(means.mean(axis=-1))


def least_mean(means: Values) -> Values:
    """(…, K) means of personas → their minimum (…)."""
    return np.asarray(means.min(axis=-1))


def estimate(scores: Values, statistic: Statistic, seed: int = 0) -> Estimate:
    """A statistic of the column means of scores (n, K), n prompts, with its interval."""
    return difference(scores, None, statistic, seed)


def difference(ours: Values, theirs: Values | None, statistic: Statistic, seed: int = 0) -> Estimate:
    """The statistic of ours (n, K) minus that of theirs (n, K), whose rows are the same prompts.

    Without `theirs`, the statistic of ours alone.
    """
    n = len(ours)
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    value = _at(ours, np.arange(n)[None], statistic)[0]
    spread = _at(ours, drawn, statistic)
    if theirs is not None:
        if len(theirs) != n:
            raise ValueError(f"cannot pair {n} with {len(theirs)} prompts")
        value = value - _at(theirs, np.arange(n)[None], statistic)[0]
        spread = spread - _at(theirs, drawn, statistic)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def _at(scores: Values, drawn: NDArray[np.int64], statistic: Statistic) -> Values:
    """The statistic of each resample (m, n)."""
    counts = np.stack([np.bincount(row, minlength=len(scores)) for row in drawn])  # (m, n)
    return statistic(counts @ scores / len(scores))  # (m, K) -> (m,)
