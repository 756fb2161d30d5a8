"""From a request to events on tiny random models saved to folders: what a reply is and what it depends on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, Text, as_json
from mpg_cli.errors import ContextError, NumericsError, PersonaError
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import Sampling, SamplingLaw, Scheme, Threshold
from tests.support.requests import finished, one, request, run
from tests.support.steps import models_of_passes
from tests.support.tokenizers import byte_tokenizer


def test_the_events_of_a_reply_tell_one_story(world: Path) -> None:
    asked = request(world, scheme=Scheme(drafter="merged"))
    events = [e for e in run(asked) if not isinstance(e, Notice)]
    started, end = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(end, Finished)
    rounds = [e for e in events if isinstance(e, Round)]
    assert "".join(e.text for e in events if isinstance(e, Text)) == end.text
    committed = [t for r in rounds for t in r.tokens]
    assert tuple(t for t in committed if t != 256) == end.token_ids
    assert end.usage.completion_tokens == len(end.token_ids)
    assert end.stats.passes == len(rounds)
    assert end.stats.committed == len(committed) == sum(len(r.contributions) for r in rounds)
    assert sum(end.stats.histogram) == len(rounds)
    assert [e.kind for e in end.spec.experts] == ["adapter", "adapter"]
    assert end.spec.persona == "bold+calm:0.5"
    assert started.spec == end.spec
    assert (end.seed, end.sequence, end.spec.chunk_size, end.spec.scheme.drafter) == (7, 0, "auto", "merged")
    for event in events:
        json.dumps(as_json(event))


@pytest.mark.parametrize(
    "personas", ["bold+calm:0.5", "bold:1.5+calm:-0.6", "bold+terse", "terse", "both+calm", "full+calm"]
)
def test_under_exact_the_text_depends_on_the_seed_alone(world: Path, personas: str) -> None:
    """Equality for every drafter and chunk size, with adapters, prompts, both, and a checkpoint."""
    first = personas.partition("+")[0].partition(":")[0]
    token_by_token = request(world, personas, scheme=Scheme(drafter="none"))
    texts = {finished(token_by_token).token_ids}
    for drafter in (
        "merged",
        "folded",
        "reference",
        f"persona:{first}",
        "lookup",
        f"model:{world / 'smaller'}",
    ):
        for gamma in (2, 7):
            asked = replace(token_by_token, scheme=Scheme(drafter=drafter, chunk_size=gamma))
            texts.add(finished(asked).token_ids)
    assert len(texts) == 1
    assert finished(replace(token_by_token, seed=8)).token_ids not in texts


def test_a_smaller_model_drafts_although_its_embeddings_are_padded_differently(world: Path) -> None:
    """It hears the prompts of its experts, since it has no adapters."""
    asked = request(world, "terse+bold", scheme=Scheme(drafter=f"model:{world / 'smaller'}", chunk_size=2))
    with models_of_passes() as models:
        end = finished(asked)
    assert end.stats.drafted > 0
    assert len(models) == 2
    (heard,) = [passes for model, passes in models.items() if model.config.num_hidden_layers == 1]
    prompt = "<system>Say little.\n\nBe bold.</><user>Hello</><assistant>"
    ids = byte_tokenizer(extra=3)(prompt)["input_ids"]
    assert ids[:-1] in heard  # the last token is read with the first draft


@pytest.mark.parametrize("drafter", ["merged", "lookup", "reference"])
def test_a_drafted_block_has_the_seeds_text_again(world: Path, drafter: str) -> None:
    """Rule block: reproducible, of the drafter's making, and every token possible under the target."""
    asked = request(world, scheme=Scheme(rule="block", drafter=drafter, chunk_size=3))
    first, again = finished(asked), finished(asked)
    assert first.token_ids == again.token_ids
    assert first.stats.committed >= first.stats.passes


def test_candidates_and_chunks_ahead(world: Path) -> None:
    how = Threshold(candidates=3, ahead=2)
    asked = request(world, "bold+terse", scheme=Scheme(rule="threshold", chunk_size=2, threshold=how))
    events = run(asked)
    rounds = [e for e in events if isinstance(e, Round)]
    end = events[-1]
    assert isinstance(end, Finished)
    assert {r.candidate for r in rounds} <= {0, 1, 2}
    assert max(r.drafted for r in rounds) == 12
    assert end.stats.kappa is not None
    assert finished(asked).token_ids == end.token_ids
    for event in events:
        json.dumps(as_json(event))


def test_samples_are_numbered_and_a_sequence_id_repeats_one(world: Path) -> None:
    asked = request(world, samples=3)
    ends = [e for e in run(asked) if isinstance(e, Finished)]
    assert [e.sequence for e in ends] == [0, 1, 2]
    assert len({e.token_ids for e in ends}) == 3
    assert finished(request(world, sequence_id=2)).token_ids == ends[2].token_ids
    assert finished(request(world, sequence_id="line-9")).token_ids not in {e.token_ids for e in ends}


def test_a_drawn_seed_is_reported_and_repeats_the_text(world: Path) -> None:
    events = run(request(world, seed=None))
    end = next(e for e in events if isinstance(e, Finished))
    assert finished(request(world, seed=end.seed)).token_ids == end.token_ids


def test_threshold_rule_reports_its_thresholds(world: Path) -> None:
    scheme = Scheme(rule="threshold", chunk_size=3)
    rounds = [
        e
        for e in run(request(world, scheme=scheme, sampling=SamplingLaw(max_tokens=60)))
        if isinstance(e, Round)
    ]
    assert all(r.thresholds is not None and len(r.thresholds) <= 3 for r in rounds)
    end = finished(request(world, scheme=scheme, sampling=SamplingLaw(max_tokens=60)))
    assert end.stats.chunks > 0
    assert end.stats.kappa is not None
    assert end.stats.as_json()["clipped_share"] is not None


def test_the_drafters_joined_prompts_do_not_shorten_the_reply(world: Path, tmp_path: Path) -> None:
    long = "".join(f"name: {n}\nprompt: {'very ' * 16}{n}\n---\n" for n in ("first", "second"))
    (tmp_path / "long.yaml").write_text(long.removesuffix("---\n"))
    blend = resolve(parse("first+second"), Registry.load([tmp_path]))
    sampling = SamplingLaw(max_tokens=200)
    token_by_token = request(world, blend=blend, sampling=sampling, scheme=Scheme(drafter="none"))
    merged = replace(token_by_token, scheme=Scheme(drafter="merged"))
    assert finished(token_by_token).token_ids == finished(merged).token_ids
    assert any(isinstance(e, Notice) and "do not fit" in e.message for e in run(merged))


def test_a_checkpoint_may_have_a_prompt_too(world: Path) -> None:
    (world / "loud.yaml").write_text(
        "name: loud\nprompt: Be loud.\nadapters: [{base: base, checkpoint: full}]\nuse: both\n"
    )
    asked = request(world, "loud+calm")
    rows = Engine.load(asked.model).describe(asked)["rows"]
    assert isinstance(rows, list)
    assert rows[2]["kind"] == "checkpoint"
    assert rows[2]["prompt_tokens"] > rows[0]["prompt_tokens"]


def test_every_model_of_a_blend_is_compiled(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which ones, that is; what compiling does is seen in tests/models/fast/test_compiling.py."""
    asked = request(world, "full+calm", scheme=Scheme(drafter=f"model:{world / 'smaller'}", chunk_size=2))
    asked = replace(asked, model=replace(asked.model, compile=True))
    compiled: list[torch.nn.Module] = []
    monkeypatch.setenv("MPG_FAST", "1")
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(self))
    with models_of_passes() as models:
        finished(asked)
    assert len(models) == 3
    assert {id(model) for model in models} <= {id(model) for model in compiled}


def test_an_adapter_made_for_another_name_is_noticed(world: Path) -> None:
    config = json.loads((world / "bold" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] != "somewhere/else"
    other = world / "stranger"
    other.mkdir(exist_ok=True)
    (other / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "somewhere/else"})
    )
    (other / "adapter_model.safetensors").write_bytes((world / "bold/adapter_model.safetensors").read_bytes())
    events = run(request(world, "", adapters=((AdapterPlace(other), 1.0),)))
    assert any(isinstance(e, Notice) and "names somewhere/else as its base" in e.message for e in events)


def test_a_name_in_a_file_cannot_forge_a_message(world: Path) -> None:
    config = json.loads((world / "bold" / "adapter_config.json").read_text())
    forger = world / "forger"
    forger.mkdir(exist_ok=True)
    (forger / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "x\nmpg: error: fake"})
    )
    (forger / "adapter_model.safetensors").write_bytes(
        (world / "bold/adapter_model.safetensors").read_bytes()
    )
    events = run(request(world, "", adapters=((AdapterPlace(forger), 1.0),)))
    notices = [e.message for e in events if isinstance(e, Notice)]
    assert any("fake" in message for message in notices)
    assert not any("\n" in message for message in notices)


def test_nan_in_the_drafter_names_its_personas(world: Path) -> None:
    asked = request(world, "bold+calm:0.5", scheme=Scheme(drafter="merged", chunk_size=2))
    engine = Engine.load(asked.model)

    def spoil(module: torch.nn.Module, args: Any, output: Any) -> None:
        if len(output.logits) == 1:  # the drafter's row; reference and experts are three
            output.logits.fill_(float("nan"))

    engine.loaded.model.register_forward_hook(spoil)
    with pytest.raises(NumericsError, match=r"merged drafter \(bold, calm\)"):
        list(engine.replies(asked))


def test_an_interruption_ends_all_samples_and_keeps_their_texts(world: Path) -> None:
    """Those that run beside the one that is shown come after it, as far as they are; further ones do not
    begin.
    """
    asked = request(world, samples=4, sampling=SamplingLaw(max_tokens=100))
    engine, events = Engine.load(asked.model, batch_size=3), list[Event]()
    for event in engine.replies(asked):
        events.append(event)
        if isinstance(event, Round) and event.start > 5:
            engine.interrupt()
    ends = [e for e in events if isinstance(e, Finished)]
    assert [(e.sequence, e.finish_reason) for e in ends] == [(n, "interrupted") for n in range(3)]
    whole = [e.token_ids for e in run(asked) if isinstance(e, Finished)]
    for end, expected in zip(ends, whole, strict=False):
        assert end.text == "".join(
            e.text for e in events if isinstance(e, Text) and e.sequence == end.sequence
        )
        assert 5 < len(end.token_ids) < 60
        assert end.token_ids == expected[: len(end.token_ids)]
    assert finished(asked).token_ids == whole[0]


def test_a_late_interruption_ends_no_later_reply(world: Path) -> None:
    asked = request(world)
    engine = Engine.load(asked.model)
    before = list(engine.replies(asked))
    engine.interrupt()
    (end,) = [event for event in engine.replies(asked) if isinstance(event, Finished)]
    assert end.finish_reason != "interrupted"
    assert end.text == before[-1].text  # type: ignore[union-attr]


def test_replies_of_several_requests_come_in_their_order(world: Path) -> None:
    """They run together: the later ones, which are shorter, are complete when the first one is."""
    asked = [
        one(world, None, "Hello", personas, max_tokens=limit)
        for personas, limit in (("bold", 30), ("terse+calm", 4), ("full", 8))
    ]
    engine = Engine.load(asked[0].model)
    events, left = [], {}
    for event in engine.replies(replace(asked[0], samples=2), *asked[1:]):
        events.append(event)
        if isinstance(event, Finished):
            left[event.spec.persona, event.sequence] = engine.left
    ends = [e for e in events if isinstance(e, Finished)]
    assert [(e.spec.persona, e.sequence) for e in ends] == [
        *(("bold", 0), ("bold", 1), ("terse+calm", 0), ("full", 0))
    ]
    assert [e.token_ids for e in ends[2:]] == [finished(r).token_ids for r in asked[1:]]
    assert left["bold", 1] == left["full", 0] == 0
    kinds = [type(e) for e in events if not isinstance(e, Notice)]
    assert kinds.count(Started) == 4
    whole = "".join(e.text for e in events if isinstance(e, Text))
    assert whole == "".join(e.text for e in ends)


def test_a_reply_that_fails_is_an_error_in_its_place(world: Path) -> None:
    asked, wrong = request(world, samples=2), request(world, "other")
    engine, shown = Engine.load(asked.model), list[Event]()
    with pytest.raises(PersonaError, match="other has neither"):
        shown.extend(engine.replies(asked, wrong, asked))
    ends = [event.token_ids for event in shown if isinstance(event, Finished)]
    assert ends == [event.token_ids for event in run(asked) if isinstance(event, Finished)]
    assert not [event for event in engine.step() if isinstance(event.event, Finished)]
    assert not engine.busy


def test_a_prompt_beyond_the_context_is_an_error(world: Path) -> None:
    with pytest.raises(ContextError, match="160"):
        run(request(world, prompt="long " * 60))
    events = run(request(world, prompt="long " * 20, sampling=SamplingLaw(max_tokens=150)))
    assert any(isinstance(e, Notice) and "--max-tokens 150" in e.message for e in events)
    end = next(e for e in events if isinstance(e, Finished))
    assert end.finish_reason in ("length", "stop")


def test_a_persona_without_an_expert_for_the_model_is_an_error(world: Path) -> None:
    with pytest.raises(PersonaError, match="other has neither a prompt nor an adapter"):
        run(request(world, "other"))


def test_falling_back_on_the_prompt_is_reported(world: Path) -> None:
    (world / "fallback.yaml").write_text(
        "name: fallback\nprompt: Be odd.\nadapters: [{base: elsewhere, path: calm}]\n"
    )
    notices = [e.message for e in run(request(world, "fallback+bold")) if isinstance(e, Notice)]
    assert any("using the system prompt: fallback" in message for message in notices)


def test_adapters_without_personas(world: Path) -> None:
    asked = request(
        world,
        "",
        adapters=tuple((AdapterPlace(world / name), w) for name, w in (("bold", 1.0), ("calm", 0.5))),
    )
    by_path = finished(asked)
    assert by_path.token_ids == finished(request(world)).token_ids
    assert next(e for e in run(asked) if isinstance(e, Started)).spec.persona == "bold+calm:0.5"


def test_dry_run_describes_rows_and_memory(world: Path) -> None:
    asked = request(world, "terse+bold+full")
    description = Engine.load(asked.model).describe(asked)
    rows = description["rows"]
    assert isinstance(rows, list)
    assert [(r["row"], r["kind"]) for r in rows] == [
        ("reference", "base"),
        ("terse", "prompt"),
        ("bold", "adapter"),
        ("full", "checkpoint"),
    ]
    assert rows[1]["prompt_tokens"] > rows[0]["prompt_tokens"]
    json.dumps(description)


def test_what_a_request_leaves_open_is_the_models_own(world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world, tmp_path / "own"))
    file = folder / "base" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": 0.4, "top_k": 5}))
    plain = finished(request(world, sampling=SamplingLaw(max_tokens=24)))
    asked = finished(request(world, sampling=Sampling(max_tokens=24, temperature=0.4, top_k=5)))
    own = finished(request(folder, sampling=Sampling(max_tokens=24)))
    assert own.token_ids == asked.token_ids != plain.token_ids
    assert own.spec.sampling == asked.spec.sampling == SamplingLaw(max_tokens=24, temperature=0.4, top_k=5)
    assert (own.spec.sampling_from["top_k"], asked.spec.sampling_from["top_k"]) == (
        *("generation_config.json", "option"),
    )
    assert finished(request(folder, sampling=SamplingLaw(max_tokens=24))).token_ids == plain.token_ids
