"""Comparison of two methods over all blends, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mpg_cli.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Estimate, Values
from mpg_cli.evaluation.metrics import Metrics
from studies.blends.blend import FLUENT, OURS, Outcome

GOAL = 0.20


@dataclass(frozen=True)
class Against:
    """Ours minus another method over all blends: minimum presence (relative and absolute), mean presence
    and fluency.
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
    """Bootstrap over blends and, within them, over the questions, which all blends share."""
    pairs = [(o.methods[ours(o)], o.methods[other(o)]) for o in outcomes]
    blends, n = len(pairs), len(pairs[0][0].replies)
    rng = np.random.default_rng(0)
    shares = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n  # (m, n)
    shares = np.concatenate([np.full((1, n), 1 / n), shares])  # the data themselves first
    picked = np.concatenate(
        [np.arange(blends)[None], rng.integers(blends, size=(RESAMPLES, blends))]
    )  # (m + 1, blends)
    sides = []
    for side in (0, 1):
        figures = np.stack([_figures(pair[side], shares) for pair in pairs])  # (blends, m + 1, 3)
        sides.append(figures[picked, np.arange(RESAMPLES + 1)[:, None]].mean(axis=1))  # (m + 1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = sides[0][:, :1] / sides[1][:, :1] - 1
    table = np.concatenate([gains, sides[0] - sides[1]], axis=1)  # (m + 1, 4)
    if not np.isfinite(gains).all():  # the other has presence 0 in some resample
        table[:, 0] = np.nan
    tail = (1 - CONFIDENCE) / 2
    gain, least, mean, fluency = (
        Estimate(float(table[0, at]), *map(float, np.quantile(table[1:, at], [tail, 1 - tail])))
        for at in range(4)
    )
    wins = sum(float(a.matrix.mean(0).min()) > float(b.matrix.mean(0).min()) for a, b in pairs)
    return Against(gain, least, mean, fluency, wins, blends)


def best_fluent(outcome: Outcome) -> str:
    """Ours at weights as fluent as the best other method, or at its best weights if there are none."""
    return FLUENT if outcome.fluent == FLUENT else OURS


def _figures(own: Metrics, shares: Values) -> Values:
    """Minimum and mean presence and fluency (m, 3) of resamples with prompt weights (m, n)."""
    means = shares @ own.matrix  # (m, K)
    values = np.array([0.0 if r.fluency is None else r.fluency for r in own.replies])
    known = np.array([float(r.fluency is not None) for r in own.replies])  # an empty reply has none
    fluency = (shares @ values) / np.maximum(shares @ known, 1e-9)  # (m,)
    return np.stack([means.min(axis=1), means.mean(axis=1), fluency], axis=1)
