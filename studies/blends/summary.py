"""All blends together: how much more or less of the least shown persona, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mpg_cli.evaluating.bootstrap import CONFIDENCE, RESAMPLES, Estimate, Values
from mpg_cli.evaluating.measured import Measured
from studies.blends.blend import FLUENT, OURS, Outcome

GOAL = 0.20


@dataclass(frozen=True)
class Against:
    """Ours against something else, over all blends: presence of the least shown persona, as a share of that
    of the other and in itself, the mean presence, and fluency.
    """

    gain: Estimate  # mean minimum of ours / mean minimum of the other - 1
    least: Estimate
    mean: Estimate
    fluency: Estimate
    wins: int  # blends where ours has the larger minimum
    blends: int


def against(
    outcomes: Sequence[Outcome], ours: Callable[[Outcome], str], other: Callable[[Outcome], str]
) -> Against:
    """Resampled over blends and, within them, over the questions, which are the same for all of them."""
    pairs = [(o.methods[ours(o)], o.methods[other(o)]) for o in outcomes]
    count, n = len(pairs), len(pairs[0][0].replies)
    rng = np.random.default_rng(0)
    rows: list[tuple[float, ...]] = []
    for turn in range(RESAMPLES + 1):
        blends = rng.integers(count, size=count) if turn else np.arange(count)
        drawn = rng.integers(n, size=n) if turn else np.arange(n)
        both = [[_figures(own.matrix, _fluencies(own), drawn) for own in pairs[b]] for b in blends]
        ours_, theirs = (np.mean([pair[side] for pair in both], axis=0) for side in (0, 1))
        gain = ours_[0] / theirs[0] - 1 if theirs[0] > 0 else np.inf
        rows.append((gain, *(ours_ - theirs)))
    tail = (1 - CONFIDENCE) / 2
    table = np.array(rows)
    if not np.isfinite(table[:, 0]).all():  # the other shows nothing in some resample
        table[:, 0] = np.nan
    gain, least, mean, fluency = (
        Estimate(float(table[0, at]), *map(float, np.quantile(table[1:, at], [tail, 1 - tail])))
        for at in range(4)
    )
    wins = sum(float(a.matrix.mean(0).min()) > float(b.matrix.mean(0).min()) for a, b in pairs)
    return Against(gain, least, mean, fluency, wins, count)


def best_fluent(outcome: Outcome) -> str:
    """Ours at weights that were as fluent as the best other method, or ours as it is where none were."""
    return FLUENT if outcome.fluent == FLUENT else OURS


def _figures(scores: Values, fluency: Values, drawn: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Values:
    """Least and mean presence and fluency of a resample."""
    means = scores[drawn].mean(axis=0)
    return np.array([means.min(), means.mean(), np.nanmean(fluency[drawn])])


def _fluencies(own: Measured) -> Values:
    return np.array([np.nan if r.fluency is None else r.fluency for r in own.replies], dtype=np.float64)
