"""The spec of a reply, and exactly which parts records and keys depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.engine.profile_key import profile_key
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import ModelSpec, resume_key
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import options_of
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import Sampling, Scheme, Threshold
from tests.support.replies import SPEC
from tests.support.requests import finished, request


@pytest.fixture
def asked(world: Path) -> Request:
    return request(world)


def changed(asked: Request, **fields: Any) -> bool:
    """Whether a batch that was begun by one request can not be gone on with by another."""
    return resume_key(asked, 7) != resume_key(replace(asked, **fields), 7)


def test_a_batch_resumes_with_options_that_change_no_text(asked: Request) -> None:
    assert not changed(asked, model=replace(asked.model, device="cpu"))
    assert not changed(asked, prompting=Prompting("another prompt"))
    for scheme in (Scheme(drafter="lookup"), Scheme(chunk_size=7), Scheme(drafter="none")):
        assert not changed(asked, scheme=scheme)


def test_a_batch_does_not_resume_with_another_model_blend_target_or_seed(world: Path, asked: Request) -> None:
    for options in ({"name": "other"}, {"revision": "abc"}, {"dtype": "bfloat16"}, {"compile": True}):
        assert changed(asked, model=replace(asked.model, **options))  # type: ignore[arg-type]
    for prompting in (
        Prompting("?", system="Be kind."),
        Prompting("?", raw=True),
        Prompting("?", template_args={"x": 1}),
    ):
        assert changed(asked, prompting=prompting)
    assert changed(asked, blend=resolve(parse("bold+calm"), Registry.load([world])))
    assert changed(asked, adapters=((AdapterPlace(world / "bold"), 1.0),))
    for name, value in {
        "temperature": 0.5,
        "max_tokens": 3,
        "stop": ("x",),
        "logit_bias": ((3, 1.0),),
    }.items():
        assert changed(asked, sampling=replace(asked.sampling, **{name: value}))  # type: ignore[arg-type]
    assert changed(asked, scheme=Scheme("mixture"))
    assert changed(asked, scheme=Scheme(rule="block"))
    assert resume_key(asked, 7) != resume_key(asked, 8)


def test_all_that_a_batch_depends_on_is_named_by_its_option(asked: Request) -> None:
    groups = (ModelOptions, BlendOptions, Scheme, PromptOptions, Sampling, RunOptions)
    keywords = {one.keyword for group in groups for one in options_of(group)}
    for rule in ("exact", "block", "threshold"):
        assert resume_key(replace(asked, scheme=Scheme(rule=rule)), 7).keys() <= {*keywords, "persona"}


def test_under_other_rules_the_way_to_draft_is_part_of_a_batch(asked: Request) -> None:
    block = replace(asked, scheme=Scheme(rule="block"))
    assert changed(block, scheme=Scheme(rule="block", drafter="lookup"))
    assert changed(block, scheme=Scheme(rule="block", chunk_size=7))
    threshold = replace(asked, scheme=Scheme(rule="threshold"))
    assert changed(threshold, scheme=Scheme(rule="threshold", threshold=Threshold(window=9)))


def test_an_experts_order_and_the_way_to_draft_are_no_part_of_a_profile(world: Path, asked: Request) -> None:
    loaded, notices = load_model(str(world / "base"), device="cpu", dtype="float32"), list[str]()
    experts = find_experts(asked.blend, (), loaded, notices.append, notices.append)

    def key(scheme: Scheme, *, turned: bool = False) -> dict[str, Any]:
        return profile_key(loaded, experts[:: -1 if turned else 1], scheme)

    assert key(Scheme()) == key(Scheme(drafter="lookup", chunk_size=3), turned=True)
    assert key(Scheme()) == key(Scheme(threshold=Threshold(window=9)))
    assert key(Scheme()) != key(Scheme("mixture"))
    assert key(Scheme()) != key(Scheme(rule="block"))
    paper = Scheme(rule="threshold")
    assert key(paper) == key(replace(paper, threshold=Threshold(candidates=8)))
    for threshold in (Threshold(window=9), Threshold("fixed:1.0"), Threshold("0.9"), Threshold(ahead=2)):
        assert key(paper) != key(replace(paper, threshold=threshold))
    json.dumps(key(paper))


def test_a_record_has_what_reproduces_the_reply(world: Path, asked: Request) -> None:
    scheme = Scheme(drafter="merged")
    prompting = Prompting("Hello", prefill="Well")
    end = finished(replace(asked, scheme=scheme, prompting=prompting, sequence_id="x"))
    record = json.loads(json.dumps(end.record()))
    assert (record["seed"], record["sequence"], record["prefill"]) == (7, "x", "Well")
    assert (record["persona"], record["model"]) == ("bold+calm:0.5", str(world / "base"))
    assert record["experts"][1] == {"name": "calm", "kind": "adapter", "weight": 0.5}
    assert (record["target"], record["rule"]) == ("product", "exact")
    assert (record["drafter"], record["chunk_size"]) == ("merged", "auto")
    assert "prefill" not in finished(asked).record()


def test_a_spec_has_the_drafter_in_use_and_the_request_the_requested_one(asked: Request) -> None:
    spec = finished(asked).spec
    assert asked.scheme.drafter == "auto"
    assert spec.scheme.drafter in ("merged", "none")
    assert finished(replace(asked, scheme=Scheme(chunk_size=3))).spec.scheme == Scheme(
        drafter="merged", chunk_size=3
    )
    assert spec.sampling == asked.sampling
    assert spec.prompting == asked.prompting
    assert spec.model.dtype == "float32"


def test_the_parts_are_json_by_their_names() -> None:
    parts = SPEC.as_json()
    assert json.loads(json.dumps(parts)) == parts
    assert (parts["model"], parts["drafter"], parts["chunk_size"]) == ("mpg-tiny", "merged", 4)
    assert parts["threshold"] is None
    assert SPEC.part("seed", "model") == {"seed": 42, "model": "mpg-tiny"}


def test_a_requested_model_is_not_resolved() -> None:
    spec = ModelSpec.requested(ModelOptions("some/model", "abc", "auto", "auto", compile=True))
    assert spec == ModelSpec("some/model", "abc", "auto", "auto", compiled=True)
