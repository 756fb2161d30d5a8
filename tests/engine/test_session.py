"""From a request to events on tiny random models saved to folders: what a reply is and what it depends on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.events import Event, Finished, Notice, Round, Started, Text, as_json
from mpg_cli.engine.request import Request
from mpg_cli.engine.session import Session, open_drafter
from mpg_cli.errors import ContextError, NumericsError, PersonaError, UsageError
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import Sampling, SamplingLaw, Scheme, Threshold
from tests.support.requests import finished, request, run


def blend_rows(session: Session, asked: Request) -> BlendRows:
    """Rows as the session makes them."""
    smaller = open_drafter(asked, session.loaded, lambda message: None)
    bank = LoraBank.of(session.loaded.model)
    return BlendRows(session.loaded, bank, session.experts, asked.scheme, smaller=smaller)


def test_the_events_of_a_reply_tell_one_story(world: Path) -> None:
    events = [e for e in run(request(world)) if not isinstance(e, Notice)]
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
    asked = request(world, "terse+bold", scheme=Scheme(drafter=f"model:{world / 'smaller'}"))
    session = Session.open(asked)
    end = next(e for e in session.replies(asked) if isinstance(e, Finished))
    assert end.stats.drafted > 0
    rows = blend_rows(session, asked)
    assert rows.draft is not None
    assert rows.draft.prompt == "Say little.\n\nBe bold."  # its experts' prompts: it has no adapters
    assert len(rows.groups) == 2


@pytest.mark.parametrize("drafter", ["merged", "lookup", "reference"])
def test_a_drafted_block_has_the_seeds_text_again(world: Path, drafter: str) -> None:
    """Rule block: reproducible, of the drafter's making, and every token possible under the target."""
    asked = request(world, scheme=Scheme(rule="block", drafter=drafter, chunk_size=3))
    first, again = finished(asked), finished(asked)
    assert first.token_ids == again.token_ids
    assert first.stats.committed >= first.stats.passes


def test_candidates_and_chunks_ahead_through_the_session(world: Path) -> None:
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
    merged = replace(token_by_token, scheme=Scheme())
    assert finished(token_by_token).token_ids == finished(merged).token_ids
    assert any(isinstance(e, Notice) and "do not fit" in e.message for e in run(merged))


def test_a_checkpoint_may_have_a_prompt_too(world: Path) -> None:
    (world / "loud.yaml").write_text(
        "name: loud\nprompt: Be loud.\nadapters: [{base: base, checkpoint: full}]\nuse: both\n"
    )
    asked = request(world, "loud+calm")
    rows = Session.open(asked).describe(asked)["rows"]
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
    models = {id(group.model) for group in blend_rows(Session.open(asked), asked).groups}
    assert len(models) == 3
    assert models <= {id(model) for model in compiled}


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
    asked = request(world, "bold+calm:0.5")
    session = Session.open(asked)

    def spoil(module: torch.nn.Module, args: Any, output: Any) -> None:
        if len(output.logits) == 1:  # the drafter's row; reference and experts are three
            output.logits.fill_(float("nan"))

    session.loaded.model.register_forward_hook(spoil)
    with pytest.raises(NumericsError, match=r"merged drafter \(bold, calm\)"):
        list(session.replies(asked))


def test_stop_between_events_interrupts_and_keeps_the_text(world: Path) -> None:
    asked = request(world, samples=3, sampling=SamplingLaw(max_tokens=100))
    session = Session.open(asked)
    events: list[Event] = []
    replies: Iterator[Event] = session.replies(asked)
    for event in replies:
        events.append(event)
        if isinstance(event, Round) and event.start > 5:
            session.stop("interrupted")
    ends = [e for e in events if isinstance(e, Finished)]
    assert [e.finish_reason for e in ends] == ["interrupted"]
    assert ends[0].text == "".join(e.text for e in events if isinstance(e, Text))
    assert 5 < len(ends[0].token_ids) < 60


def test_a_reply_cannot_continue_after_another_has_started(world: Path) -> None:
    """The rows hold one reply: the first stream ends with an error, the second is what it is alone."""
    asked = request(world)
    other = replace(asked, sequence_id=5)
    alone = Session.open(other)
    expected = [event.text for event in alone.replies(other) if isinstance(event, Finished)]
    session = Session.open(asked)
    first = session.replies(asked)
    next(event for event in first if isinstance(event, Round))
    second = session.replies(other)
    next(event for event in second if isinstance(event, Round))
    with pytest.raises(UsageError, match="another reply was started"):
        list(first)
    assert [event.text for event in second if isinstance(event, Finished)] == expected


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
    description = Session.open(asked).describe(asked)
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
