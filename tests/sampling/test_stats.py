"""Counts add up, rates are None where they mean nothing, and the threshold rule's figures are means."""

from __future__ import annotations

import math

import pytest

from mpg_cli.sampling.stats import Round, Seconds, Stats


def a_round(
    accepted: int, thresholds: tuple[float, ...] | None = None, ratios: tuple[float, ...] | None = None
) -> Stats:
    """The statistics of a round that accepted so many of three drafted tokens."""
    return Stats.of(
        Round(
            sequence=0,
            start=0,
            draft=(1, 2, 3),
            evaluated=min(accepted + 1, 3),
            accepted=accepted,
            tokens=(1,) * (accepted + 1),
            contributions=((0.5, -1.0),) * (accepted + 1),
            seconds=Seconds(0.0, 1.0, 2.0, 1.0),
            thresholds=thresholds,
            drafted=3,
            log_ratios=None if ratios is None else (ratios,),
        )
    )


def test_counts_and_rates() -> None:
    stats = Stats() + a_round(3) + a_round(0) + a_round(1)
    assert (stats.drafted, stats.evaluated, stats.accepted, stats.committed, stats.passes) == (9, 6, 4, 7, 3)
    assert stats.histogram == (1, 1, 0, 1)
    assert stats.reached == (3, 2, 1)
    assert stats.mean_contributions == pytest.approx((0.5, -1.0))
    assert stats.acceptance_rate == pytest.approx(4 / 6)
    assert stats.committed_per_pass == pytest.approx(7 / 3)
    assert stats.tokens_per_second == pytest.approx(7 / 12)
    assert stats.kappa is None
    assert stats.bias_bound is None


def test_nothing_yet() -> None:
    stats = Stats()
    assert stats.acceptance_rate is stats.committed_per_pass is stats.tokens_per_second is None


def test_threshold_figures() -> None:
    stats = a_round(1, (0.1, 0.2), (0.3, 0.1)) + a_round(1, (0.1, 0.2), (0.0, 0.5))
    first, second = math.exp(0.3) - math.exp(0.1), math.exp(0.5) - math.exp(0.2)
    assert stats.kappa == pytest.approx((first / 2, second / 2))
    assert stats.clipped_share == 1.0
    assert stats.bias_bound == pytest.approx((math.exp(-0.1) * first + 2 * math.exp(-0.2) * second) / 2)


def test_short_and_empty_chunks_do_not_dilute() -> None:
    whole = a_round(1, (0.1, 0.2), (0.3, 0.5))
    shorter = whole + a_round(0, (0.1,), (0.0,)) + a_round(0, (), ())
    assert shorter.chunks == 2
    assert shorter.thresholds == (0.1, 0.2)
    assert whole.kappa is not None
    assert shorter.kappa == pytest.approx((whole.kappa[0] / 2, whole.kappa[1]))
    assert a_round(0, (), ()).bias_bound is None


def test_impossible_and_huge_ratios_stay_finite() -> None:
    stats = a_round(0, (0.0, 0.0), (-math.inf, 1e6))
    assert stats.kappa is not None
    assert all(math.isfinite(k) for k in stats.kappa)
