"""Which sequences get a drafter that was left to the engine, and how many tokens it drafts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.draft_policy import DraftPolicy
from mpg_cli.engine.pass_cost import round_cost, round_load
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.sampling.params import SamplingLaw, Scheme
from mpg_cli.sampling.stats import Round, Seconds
from tests.support.requests import one

LAW = SamplingLaw(max_tokens=20)


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_model(str(world / "base"), device="cpu", dtype="float32")


def blend(world: Path, loaded: LoadedModel, scheme: Scheme | None = None) -> BlendRows:
    experts = find_experts(one(world, 0).blend, (), loaded, lambda text: None, lambda text: None)
    return BlendRows.of(loaded, experts, scheme or Scheme())


def sequence(rows: BlendRows, law: SamplingLaw) -> Any:
    return SimpleNamespace(rows=rows, spec=SimpleNamespace(sampling=law))


def a_round(accepted: int, evaluated: int) -> Round:
    return Round(0, 0, (), evaluated, accepted, (1,), ((),), Seconds())


def test_drafts_are_tried_until_too_few_are_accepted(world: Path, loaded: LoadedModel) -> None:
    rows, policy = blend(world, loaded), DraftPolicy(shared=True)
    assert policy.worth(rows, LAW)
    assert max(policy.sizes({0: sequence(rows, LAW)}).values()) > 1
    policy.learn(sequence(rows, LAW), a_round(0, 300))
    assert not policy.worth(rows, LAW)
    assert policy.sizes({0: sequence(rows, LAW)}) == {0: 0}
    assert policy.worth(rows, replace(LAW, temperature=0.5)), "that sampling is another one"
    policy.learn(sequence(rows, LAW), a_round(30_000, 30_000))
    assert policy.worth(rows, LAW)


def test_where_bits_differ_a_sequence_is_judged_by_itself(world: Path, loaded: LoadedModel) -> None:
    rows, policy = blend(world, loaded), DraftPolicy(shared=False)
    before = policy.worth(rows, LAW, 1)
    policy.learn(sequence(rows, LAW), a_round(0, 300))
    assert policy.worth(rows, LAW, 32) == policy.worth(rows, LAW, 1) == before


def test_the_load_of_a_round_counts_rows_and_passes(world: Path, loaded: LoadedModel) -> None:
    rows = blend(world, loaded, Scheme(drafter="merged"))
    layers = loaded.config.num_hidden_layers
    one_, two = round_load([rows]), round_load([rows, rows])
    assert (one_.score.rounds, one_.score.draws, one_.score.rows) == (1, 1, 3 * layers)
    assert (one_.step.rounds, one_.step.draws, one_.step.rows) == (0, 1, layers)
    assert one_.score.layers == two.score.layers == one_.score.adapted == layers
    assert two.position == one_.position.plus(one_.position)
    assert round_load([rows.without_drafter()]).step == type(one_.step)()
    alone, beside = round_cost([rows]), round_cost([rows, rows])
    assert alone.score < beside.score < 2 * alone.score
