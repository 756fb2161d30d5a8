"""Scores and intervals against values worked out elsewhere."""

from __future__ import annotations

import math

import pytest

from mpg_cli.evaluation.questionnaire import Item, Option
from mpg_cli.evaluation.scores import answer, sheet, shift, t_quantile

PAIR = (Option("a", 1.0), Option("b", -1.0))
ITEMS = [Item("EI", "?", PAIR)] * 4 + [Item("JP", "?", PAIR)] * 4


@pytest.mark.parametrize(
    "freedom, exact", [(3, 3.1824), (4, 2.7764), (9, 2.2622), (15, 2.1314), (27, 2.0518), (1000, 1.9623)]
)
def test_the_quantile_of_t_is_that_of_the_tables(freedom: int, exact: float) -> None:
    assert t_quantile(freedom) == pytest.approx(exact, rel=5e-3)


def test_a_forced_choice_scores_the_hyperbolic_tangent_of_half_the_margin() -> None:
    for margin in (-40.0, -1.0, 0.0, 0.3, 500.0):
        assert answer(ITEMS[0], (margin - 2, -2.0)) == pytest.approx(math.tanh(margin / 2))


def test_impossible_options_are_chance_together_and_certain_against_another() -> None:
    assert answer(ITEMS[0], (-math.inf, -math.inf)) == 0
    assert answer(ITEMS[0], (-math.inf, -3.0)) == -1


def test_agreement_scores_its_expected_value() -> None:
    item = Item("EI", "?", (Option("no", -1.0), Option("so so", 0.0), Option("yes", 1.0)))
    chances = (0.2, 0.3, 0.5)
    assert answer(item, [math.log(p) - 7 for p in chances]) == pytest.approx(0.3)


def test_a_score_is_a_mean_with_its_t_interval() -> None:
    own = sheet("x", ITEMS, [0.1, 0.3, 0.2, 0.4, -0.5, 0.5, -0.5, 0.4])
    first, second = own.scores
    half = 3.1824 * math.sqrt(0.05 / 3) / 2
    assert first.value == pytest.approx(0.25)
    assert (first.low, first.high) == pytest.approx((0.25 - half, 0.25 + half), rel=1e-2)
    assert (first.items, first.first, first.pole, first.excludes_chance) == (4, 4, "E", True)
    assert (second.pole, second.excludes_chance) == ("P", False)
    assert own.type == "EP"


def test_a_shift_is_computed_item_by_item() -> None:
    """A bias that all share does not widen the interval of the difference."""
    base = sheet("base", ITEMS, [0.9, -0.9, 0.5, -0.5] * 2)
    moved = sheet("x", ITEMS, [1.0, -0.8, 0.6, -0.4] * 2)
    score = shift(ITEMS, moved, base)[0]
    assert (score.low, score.value, score.high) == pytest.approx((0.1, 0.1, 0.1))
    assert not moved.scores[0].excludes_chance
