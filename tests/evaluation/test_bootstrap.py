"""The paired bootstrap: what it must give exactly, and that pairs make differences narrower."""

from __future__ import annotations

import numpy as np
import pytest

from mpg_cli.evaluation.bootstrap import difference, estimate, least_mean, mean_of_means


def test_values_are_those_of_the_data_and_the_same_seed_gives_the_same_interval() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    least, mean = estimate(scores, least_mean), estimate(scores, mean_of_means)
    assert (least.value, mean.value) == (0.25, 0.5)
    assert least == estimate(scores, least_mean)
    assert 0 <= least.low <= least.value <= least.high <= 1


def test_without_spread_the_interval_is_the_value() -> None:
    own = difference(np.ones((9, 2)), np.full((9, 2), 0.25), least_mean)
    assert (own.value, own.low, own.high) == (0.75, 0.75, 0.75)
    assert own.excludes_zero


def test_a_constant_lead_on_every_prompt_is_certain_although_prompts_differ() -> None:
    """Unpaired, the spread of the prompts (0 to 1) would hide a lead of 0.05."""
    theirs = np.linspace(0, 1, 40)[:, None]
    own = difference(theirs + 0.05, theirs, mean_of_means)
    assert own.low == pytest.approx(0.05)
    assert own.high == pytest.approx(0.05)


def test_the_interval_of_a_mean_has_the_width_of_the_normal_one() -> None:
    scores = np.repeat([0.0, 1.0], 50)[:, None]
    own = estimate(scores, mean_of_means)
    assert own.high - own.low == pytest.approx(2 * 1.96 * 0.05, rel=0.15)


def test_other_prompts_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="cannot pair"):
        difference(np.ones((3, 1)), np.ones((4, 1)), mean_of_means)
