"""The target merged: one row for a whole blend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished, Notice
from mpg_cli.engine.explained import check_explainable
from mpg_cli.errors import UsageError
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.requests import finished, one, request, run, texts

MERGED = Scheme(target="merged")


def test_a_merged_target_has_no_contributions_to_explain(world: Path) -> None:
    reply = finished(request(world, scheme=MERGED))
    assert reply.stats.mean_contributions == ()
    assert reply.stats.acceptance_rate is None, "a draft would cost as much as the target"
    with pytest.raises(UsageError, match="no contributions to explain"):
        check_explainable(reply.spec.scheme)


def test_one_adapter_of_weight_one_is_the_expert_itself(world: Path) -> None:
    """With a product of weight 1 the target is the expert: both samples are the same."""
    assert finished(request(world, "bold", scheme=MERGED)).text == finished(request(world, "bold")).text


def test_weights_of_a_request_share_passes_with_others(world: Path) -> None:
    engine = Engine.load(request(world).model, batch_size=8)
    weights = ("0.2", "0.7", "1", "-0.5", "1.5")
    requests = [one(world, w, personas=f"bold:{w}+calm", scheme=MERGED) for w in weights]
    together = texts(list(engine.run(iter(requests))))
    alone = {own.sequence_id: finished(own).text for own in requests}
    assert together == alone
    assert len(set(together.values())) > 1


def test_prompts_are_joined_and_their_weights_have_no_effect(world: Path) -> None:
    events = run(request(world, "terse:0.5+bold", scheme=MERGED, sampling=SamplingLaw(max_tokens=4)))
    assert any("whose weights have no effect: terse" in e.message for e in events if isinstance(e, Notice))
    assert any(isinstance(e, Finished) for e in events)


@pytest.mark.parametrize(
    ("blend", "message"),
    [("full+bold", "cannot merge a full checkpoint: full"), ("bold+terse:-1", "steer away from .*: terse")],
)
def test_what_cannot_be_merged_is_refused(blend: str, message: str, world: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run(request(world, blend, scheme=MERGED))
    assert "--target product" in (caught.value.hint or "")
