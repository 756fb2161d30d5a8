"""Settings: defaults by size, what does not go together, and how two runs differ."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.training.settings import LOSSES, Choices, difference, divisor, resolve

SMALL, MIDDLE, LARGE = 2_000_000, 600_000_000, 8_000_000_000


def test_the_losses_are_those_of_trl() -> None:
    import inspect
    import re

    from trl import DPOTrainer

    source = inspect.getsource(DPOTrainer._compute_loss)
    assert sorted(LOSSES) == sorted(re.findall(r'loss_type == "(\w+)"', source))


def test_small_and_large_models_get_other_defaults() -> None:
    small, middle, large = (resolve(Choices(), size, None) for size in (SMALL, MIDDLE, LARGE))
    assert (small.loss, middle.loss, large.loss) == ("ipo", "sigmoid", "sigmoid")
    assert small.rank < large.rank
    assert middle.rank < large.rank
    assert small.learning_rate > middle.learning_rate > large.learning_rate
    assert (small.checkpointing, large.checkpointing) == (False, True)
    assert (small.batch_size, small.micro_batch) == (16, 16)
    assert (large.batch_size, large.micro_batch) == (4, 1)
    assert small.alpha == 2 * small.rank


def test_models_of_real_text_imitate_before_they_prefer() -> None:
    small, middle, large = (resolve(Choices(), size, None) for size in (SMALL, MIDDLE, LARGE))
    assert small.of_imitation is None
    for settings in (middle, large):
        first, before = settings.of_imitation, settings.of_contrast
        assert first is not None
        assert before is not None
        assert (first.method, first.loss, first.likelihood, first.of_imitation) == ("sft", "sft", 0, None)
        assert first.learning_rate > settings.learning_rate
        assert 72 * first.epochs / first.batch_size >= 54  # steps on 72 replies: fewer were not heard
        assert (before.rank, before.alpha / before.rank) == (max(8, first.rank), first.alpha / first.rank)
        assert before.of_contrast is None
        strong = replace(settings, strength=1.5)
        assert (strong.of_imitation, strong.of_contrast) == (first, before)
        assert settings.epochs == 0
    assert resolve(Choices(imitation=0), MIDDLE, None).of_imitation is None
    asked = resolve(Choices(imitation=2, imitation_rate=1e-3), SMALL, None).of_imitation
    assert asked is not None
    assert (asked.epochs, asked.learning_rate) == (2, 1e-3)


def test_imitation_alone_has_the_rate_and_the_passes_of_imitation() -> None:
    both, alone = resolve(Choices(), MIDDLE, None), resolve(Choices(sft=True), MIDDLE, None)
    assert (alone.learning_rate, alone.epochs) == (both.imitation_rate, both.imitation)
    assert alone.of_imitation is None
    assert resolve(Choices(loss="sft"), MIDDLE, None).of_imitation is None


def test_choices_win() -> None:
    settings = resolve(
        Choices(loss="hinge", rank=4, alpha=6, batch_size=6, micro_batch=4, likelihood=0), LARGE, None
    )
    assert (settings.loss, settings.likelihood, settings.rank, settings.alpha) == ("hinge", 0, 4, 6)
    assert (settings.batch_size, settings.micro_batch) == (6, 3)


def test_imitation_has_no_preference() -> None:
    settings = resolve(Choices(sft=True), SMALL, None)
    assert (settings.loss, settings.likelihood) == ("sft", 0)


def test_the_context_bounds_the_length() -> None:
    assert resolve(Choices(), SMALL, 128).max_length == 128
    assert resolve(Choices(max_length=64), SMALL, 128).max_length == 64
    with pytest.raises(UsageError, match="--max-length 256 is beyond the 128 positions"):
        resolve(Choices(max_length=256), SMALL, 128)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"loss": "sigmoud"}, r"unknown loss 'sigmoud' \(choose from .*\); did you mean sigmoid"),
        ({"rank": 0}, "--rank 0 must be at least 1"),
        ({"beta": 0.0}, "--beta 0 must be above 0"),
        ({"learning_rate": math.nan}, "--learning-rate nan must be above 0"),
        ({"epochs": math.inf}, "--epochs inf must be 0 or more"),
        ({"likelihood": math.nan}, "--likelihood nan must be 0 or more"),
        ({"eval_split": 0.9}, "--eval-split 0.9 must be between 0 and 0.5"),
        ({"seed": -1}, "--seed -1 must be 0 or more"),
        ({"sft": True, "beta": 0.2}, "--beta applies to preference data"),
        ({"sft": True, "contrast": 1.0}, "--contrast applies to preference data"),
        ({"imitation": -1.0}, "--imitation -1 must be 0 or more"),
        ({"sft": True, "imitation": 1.0}, "--imitation applies to preference data"),
        ({"loss": "sft", "imitation_rate": 1.0}, "--imitation-rate conflicts with --loss sft"),
        ({"loss": "sft", "likelihood": 1.0}, "--likelihood conflicts with --loss sft"),
    ],
)
def test_wrong_choices_are_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Choices(**choice)


@pytest.mark.parametrize(
    ("choice", "size", "message"),
    [
        ({"sft": True, "epochs": 0.0}, MIDDLE, "--epochs 0 leaves nothing to train"),
        ({"epochs": 0.0}, SMALL, "--epochs 0 leaves nothing to train"),
        ({"imitation": 0.0, "epochs": 0.0}, MIDDLE, "--epochs 0 leaves nothing to train"),
        ({"imitation": 0.0, "contrast": 1.0}, MIDDLE, "--contrast needs --imitation above 0"),
        ({"contrast": 1.0}, SMALL, "--contrast needs --imitation above 0"),
        ({"imitation_rate": 1e-3}, SMALL, "--imitation-rate needs --imitation above 0"),
        ({"epochs": 0.0, "beta": 0.2}, MIDDLE, "--beta needs --epochs above 0"),
    ],
)
def test_options_of_a_phase_that_there_is_not_are_refused(
    choice: dict[str, Any], size: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(Choices(**choice), size, None)


def test_an_option_of_the_loss_asks_for_it() -> None:
    for choices, epochs in ((Choices(), 0), (Choices(beta=0.2), 1), (Choices(loss="ipo"), 1)):
        assert resolve(choices, MIDDLE, None).epochs == epochs
    assert resolve(Choices(imitation=0), MIDDLE, None).epochs == 1


@pytest.mark.parametrize(("count", "most", "size"), [(16, 16, 16), (16, 5, 4), (7, 4, 1), (1, 9, 1)])
def test_divisor(count: int, most: int, size: int) -> None:
    assert divisor(count, most) == size


def test_runs_are_compared_after_a_round_trip_through_json() -> None:
    first = resolve(Choices(), SMALL, None, ("q_proj", "v_proj")).as_dict()
    again = json.loads(json.dumps(first))
    assert difference(again, first) is None
    second = resolve(Choices(learning_rate=1e-4), SMALL, None, ("q_proj",)).as_dict()
    assert difference(again, second) == (
        "targets was q_proj,v_proj and is q_proj, learning-rate was 0.002 and is 0.0001"
    )
    assert difference({"data": "x"}, {}) == "data was x and is not set"
