"""From a request to events on tiny random models saved to folders: what a reply is and what it depends on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mpg_cli.errors import ContextError, NumericsError, PersonaError, UsageError
from mpg_cli.events import Event, Finished, Notice, Round, Started, Text, as_json
from mpg_cli.models.detokenizer import ReplyText
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.request import GenerateRequest, ModelChoice, Prompting, Sampling, Scheme
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.thresholds import Threshold
from mpg_cli.session import Session
from tests.models.tiny import tiny_adapter, tiny_model
from tests.models.words import byte_tokenizer

SIZES = {"vocab_size": 260, "eos_token_id": 256, "bos_token_id": None, "pad_token_id": None}
YAML = """\
name: bold
prompt: Be bold.
adapters: [{base: base, path: bold}]
---
name: calm
adapters: [{base: base, path: calm}]
---
name: terse
prompt: Say little.
---
name: full
adapters: [{base: base, checkpoint: full}]
---
name: other
adapters: [{base: elsewhere, path: calm}]
---
name: both
prompt: Be bold.
adapters: [{base: base, path: bold}]
use: both
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, two adapters, a checkpoint and the personas that use them."""
    folder = tmp_path_factory.mktemp("world")
    tokenizer = byte_tokenizer(extra=3)
    for name, seed in (("base", 0), ("full", 50)):
        model = tiny_model("llama", seed, **SIZES, max_position_embeddings=160)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    padded = SIZES | {"vocab_size": 264, "num_hidden_layers": 1}
    tiny_model("llama", 60, **padded, max_position_embeddings=160).save_pretrained(folder / "smaller")
    tokenizer.save_pretrained(folder / "smaller")
    base = tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=base, size=0.2)
    tiny_adapter(folder / "calm", "llama", seed=2, r=2, base=base, size=0.2)
    (folder / "personas.yaml").write_text(YAML)
    return folder


def request(
    world: Path, personas: str = "bold+calm:0.5", prompt: str = "Hello", **fields: Any
) -> GenerateRequest:
    blend = resolve(parse(personas), Registry.load([world])) if personas else None
    whole = GenerateRequest(
        model=ModelChoice(str(world / "base"), device="cpu", dtype="float32"),
        prompting=Prompting(prompt),
        sampling=fields.pop("sampling", Sampling(max_tokens=24)),
        scheme=fields.pop("scheme", Scheme()),
        blend=blend,
        seed=fields.pop("seed", 7),
    )
    return replace(whole, **fields)


def run(asked: GenerateRequest) -> list[Event]:
    return list(Session.open(asked).replies(asked))


def finished(asked: GenerateRequest) -> Finished:
    return next(event for event in run(asked) if isinstance(event, Finished))


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
    assert end.stats.committed == len(committed) == sum(len(r.pull) for r in rounds)
    assert sum(end.stats.histogram) == len(rounds)
    assert [e.kind for e in started.experts] == ["adapter", "adapter"]
    assert started.persona == "bold+calm:0.5"
    assert (started.seed, started.sequence, started.chunk_size, started.drafter) == (7, 0, "auto", "merged")
    for event in events:
        json.dumps(as_json(event))


@pytest.mark.parametrize(
    "personas", ["bold+calm:0.5", "bold:1.5+calm:-0.6", "bold+terse", "terse", "both+calm", "full+calm"]
)
def test_under_exact_the_text_depends_on_the_seed_alone(world: Path, personas: str) -> None:
    """Equality for every drafter and chunk size, with adapters, prompts, both, and a checkpoint."""
    first = personas.partition("+")[0].partition(":")[0]
    lock_step = request(world, personas, scheme=Scheme(drafter="none"))
    texts = {finished(lock_step).token_ids}
    for drafter in (
        "merged",
        "folded",
        "reference",
        f"persona:{first}",
        "lookup",
        f"model:{world / 'smaller'}",
    ):
        for gamma in (2, 7):
            asked = replace(lock_step, scheme=Scheme(drafter=drafter, chunk_size=gamma))
            texts.add(finished(asked).token_ids)
    assert len(texts) == 1
    assert finished(replace(lock_step, seed=8)).token_ids not in texts


def test_a_smaller_model_drafts_although_its_embeddings_are_padded_differently(world: Path) -> None:
    asked = request(world, "terse+bold", scheme=Scheme(drafter=f"model:{world / 'smaller'}"))
    session = Session.open(asked)
    end = next(e for e in session.replies(asked) if isinstance(e, Finished))
    assert end.stats.drafted > 0
    assert session._lineup.draft is not None
    assert (
        session._lineup.draft.prompt == "Say little.\n\nBe bold."
    )  # its experts' prompts: it has no adapters
    assert len(session._lineup.groups) == 2


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


def test_mixture_and_warpers_keep_the_equality(world: Path) -> None:
    for target, sampling in (
        ("mixture", Sampling(max_tokens=20)),
        ("product", Sampling(max_tokens=20, temperature=0.7, top_p=0.8, repetition_penalty=1.3)),
        ("product", Sampling(max_tokens=20, temperature=0)),
    ):
        asked = request(world, sampling=sampling, scheme=Scheme(target=target, drafter="none"))  # type: ignore[arg-type]
        chunked = replace(asked, scheme=Scheme(target=target, chunk_size=5))  # type: ignore[arg-type]
        assert finished(asked).token_ids == finished(chunked).token_ids


def test_samples_are_numbered_and_a_sequence_id_repeats_one(world: Path) -> None:
    asked = request(world, samples=3)
    ends = [e for e in run(asked) if isinstance(e, Finished)]
    assert [e.sequence for e in ends] == [0, 1, 2]
    assert len({e.token_ids for e in ends}) == 3
    assert finished(request(world, sequence_id=2)).token_ids == ends[2].token_ids
    assert finished(request(world, sequence_id="line-9")).token_ids not in {e.token_ids for e in ends}


def test_unknown_ids_are_never_sampled(world: Path) -> None:
    """The model has more embeddings than the tokenizer has tokens."""
    hot = request(world, sampling=Sampling(max_tokens=100, temperature=50.0), samples=8)
    opened = Session.open(hot)
    padded = replace(opened.loaded, tokenizer=byte_tokenizer(extra=0))
    assert padded.vocabulary.size == 257 < opened.loaded.vocabulary.size
    found = []
    for session in (opened, Session(hot, padded, opened.experts)):
        ends = [e for e in session.replies(hot) if isinstance(e, Finished)]
        found.append({token for e in ends for token in e.token_ids})
    assert max(found[0]) > 256 > max(found[1])


@pytest.mark.parametrize("rule", ["exact", "block", "threshold"])
def test_penalties_and_bias_count_under_every_rule(world: Path, rule: str) -> None:
    scheme = Scheme(rule=rule, chunk_size=3)  # type: ignore[arg-type]
    never = finished(request(world, scheme=scheme)).token_ids[:3]
    banned = tuple((token, -100.0) for token in set(never))
    end = finished(request(world, scheme=scheme, sampling=Sampling(max_tokens=24, logit_bias=banned)))
    assert end.token_ids
    assert not set(end.token_ids) & set(never)
    wide = Sampling(max_tokens=60, temperature=0.01, frequency_penalty=2.0, presence_penalty=2.0)
    plain = replace(wide, frequency_penalty=0.0, presence_penalty=0.0)
    often, seldom = (
        max(Counter(finished(request(world, scheme=scheme, sampling=s)).token_ids).values())
        for s in (plain, wide)
    )
    assert seldom < often


def test_ids_that_the_model_does_not_have_are_refused(world: Path) -> None:
    for sampling in (Sampling(stop_token_ids=(5000,)), Sampling(logit_bias=((5000, 1.0),))):
        with pytest.raises(UsageError, match=r"5000: .* has no token of that id"):
            finished(request(world, sampling=sampling))


def test_a_stop_token_ends_the_reply_before_it(world: Path) -> None:
    whole = finished(request(world)).token_ids
    end = finished(request(world, sampling=Sampling(max_tokens=24, stop_token_ids=(whole[7],))))
    assert end.token_ids == whole[: whole.index(whole[7])]
    assert end.finish_reason == "stop"


def test_a_reply_goes_on_from_its_prefill(world: Path) -> None:
    asked = request(world)
    whole = finished(asked)
    tokenizer = byte_tokenizer(extra=3)
    begun = "Well"
    events = run(replace(asked, prompting=replace(asked.prompting, prefill=begun)))
    end = next(e for e in events if isinstance(e, Finished))
    assert "".join(e.text for e in events if isinstance(e, Text)) == end.text
    assert end.text.startswith(begun)
    assert end.text[len(begun) :].encode() == tokenizer.decode(end.token_ids).encode()
    assert end.usage.prompt_tokens == whole.usage.prompt_tokens + len(begun)
    turns = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": begun})
    assert finished(replace(asked, prompting=Prompting(messages=turns))).token_ids == end.token_ids


def test_a_drawn_seed_is_reported_and_repeats_the_text(world: Path) -> None:
    events = run(request(world, seed=None))
    started = next(e for e in events if isinstance(e, Started))
    end = next(e for e in events if isinstance(e, Finished))
    assert finished(request(world, seed=started.seed)).token_ids == end.token_ids


def test_threshold_rule_reports_its_thresholds(world: Path) -> None:
    scheme = Scheme(rule="threshold", chunk_size=3)
    rounds = [
        e
        for e in run(request(world, scheme=scheme, sampling=Sampling(max_tokens=60)))
        if isinstance(e, Round)
    ]
    assert all(r.thresholds is not None and len(r.thresholds) <= 3 for r in rounds)
    end = finished(request(world, scheme=scheme, sampling=Sampling(max_tokens=60)))
    assert end.stats.chunks > 0
    assert end.stats.kappa is not None
    assert end.stats.as_json()["clipped_share"] is not None


def test_stop_strings_end_the_reply_wherever_the_chunks_fall(world: Path) -> None:
    whole = finished(request(world)).text
    stop = next(whole[i : i + 2] for i in range(8, len(whole)) if whole[i : i + 2].isascii())
    for gamma in (0, 3, 8):
        end = finished(
            request(world, sampling=Sampling(max_tokens=24, stop=(stop,)), scheme=Scheme(chunk_size=gamma))
        )
        assert end.finish_reason == "stop"
        assert end.text == whole[: whole.index(stop)]
        assert end.stats.committed == len(end.token_ids)


def test_the_reference_alone_is_what_transformers_computes(world: Path) -> None:
    """Greedy, one expert of weight tiny: the text of the base model's own greedy generation."""
    session = Session.open(
        asked := request(world, "bold:0.000001", sampling=Sampling(max_tokens=12, temperature=0))
    )
    end = next(e for e in session.replies(asked) if isinstance(e, Finished))
    tokenizer, model = session.loaded.tokenizer, tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    ids = tokenizer("<user>Hello</><assistant>", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
    assert list(end.token_ids) == [t for t in expected if t != 256]


REPLAYED = {
    "product": ("bold:0.9+calm:-0.4", Sampling(max_tokens=20)),
    "mixture": ("bold:3+calm", Sampling(max_tokens=20)),
    "warped": (
        "bold:0.9+calm:0.4",
        Sampling(max_tokens=20, temperature=0.8, top_k=60, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    ),
    "penalised": ("bold:0.9+calm:0.4", Sampling(max_tokens=20, temperature=0.3, repetition_penalty=3.0)),
}


@pytest.mark.parametrize("case", REPLAYED)
def test_the_text_is_the_one_computed_by_hand_from_pefts_models(world: Path, case: str) -> None:
    """Every token again: PEFT's log-probabilities, the formula in float64, transformers' own warpers."""
    personas, sampling = REPLAYED[case]
    target = "mixture" if case == "mixture" else "product"
    asked = request(world, personas, sampling=sampling, scheme=Scheme(target=target, chunk_size=3))  # type: ignore[arg-type]
    end = finished(asked)
    base = tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    experts = [PeftModel.from_pretrained(deepcopy(base), str(world / n)).eval() for n in ("bold", "calm")]
    prompt = byte_tokenizer(extra=3)("<user>Hello</><assistant>")["input_ids"]
    weights = [part.weight for part in asked.blend.experts]  # type: ignore[union-attr]
    noise = Noise(7, 0)
    for position, token in enumerate(end.token_ids):
        reply = list(end.token_ids[:position])
        ids = torch.tensor([prompt + reply])
        with torch.inference_mode():
            log_pi = [m(ids).logits[0, -1].double().log_softmax(-1) for m in (base, *experts)]
        if target == "product":
            log_p = log_pi[0] + sum(w * (x - log_pi[0]) for w, x in zip(weights, log_pi[1:], strict=True))
        else:
            shares = torch.tensor(weights).double() / sum(weights)
            log_p = (shares[:, None] * torch.stack(log_pi[1:]).exp()).sum(0).log()
        scale = base(ids).logits[0, -1].double().logsumexp(-1)  # of the reference's logits
        scores = (log_p.log_softmax(-1) + scale)[None]
        seen = ids  # of the reference's prompt and the reply
        for warper in (
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
            TemperatureLogitsWarper(sampling.temperature),
            TopKLogitsWarper(sampling.top_k or 10_000),
            TopPLogitsWarper(sampling.top_p),
            MinPLogitsWarper(sampling.min_p),
        ):
            scores = warper(seen, scores)
        gumbel = noise.gumbel(scores.shape[-1], position).double()
        assert int((scores[0].log_softmax(-1) + gumbel).argmax()) == token, position


@pytest.mark.parametrize("drafter", ["none", "reference", "lookup"])
def test_without_weight_the_penalty_is_that_of_transformers(world: Path, drafter: str) -> None:
    """Every expert at weight 0: the base model's own greedy generation, prompt and reply penalised."""
    sampling = Sampling(max_tokens=40, temperature=0, repetition_penalty=1.3)
    asked = request(world, sampling=sampling, scheme=Scheme(drafter=drafter, chunk_size=None))
    opened = Session.open(asked)
    session = Session(asked, opened.loaded, [replace(expert, weight=0.0) for expert in opened.experts])
    end = next(e for e in session.replies(asked) if isinstance(e, Finished))
    tokenizer, model = opened.loaded.tokenizer, tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    ids = tokenizer("<user>Hello</><assistant>", return_tensors="pt")["input_ids"]
    texts = []
    for penalty in (1.0, 1.3):
        with torch.inference_mode():
            found = model.generate(ids, max_new_tokens=40, do_sample=False, repetition_penalty=penalty)
        texts.append([t for t in found[0, ids.shape[1] :].tolist() if t != 256])
    assert list(end.token_ids) == texts[1] != texts[0]


def test_all_end_tokens_of_the_generation_configuration_count(world: Path) -> None:
    """Tokens that the reply has, named as ends: the reply stops before the first of them."""
    asked = request(world)
    whole = finished(asked).token_ids
    ends = {whole[6], whole[9]}
    first = next(i for i, token in enumerate(whole) if token in ends)
    session = Session.open(asked)
    session.loaded.model.generation_config.eos_token_id = [256, *ends]
    end = next(e for e in session.replies(asked) if isinstance(e, Finished))
    assert end.finish_reason == "stop"
    assert end.token_ids == whole[:first]


def test_the_drafters_joined_prompts_do_not_shorten_the_reply(world: Path, tmp_path: Path) -> None:
    long = "".join(f"name: {n}\nprompt: {'very ' * 16}{n}\n---\n" for n in ("first", "second"))
    (tmp_path / "long.yaml").write_text(long.removesuffix("---\n"))
    blend = resolve(parse("first+second"), Registry.load([tmp_path]))
    sampling = Sampling(max_tokens=200)
    lock_step = request(world, blend=blend, sampling=sampling, scheme=Scheme(drafter="none"))
    merged = replace(lock_step, scheme=Scheme())
    assert finished(lock_step).token_ids == finished(merged).token_ids
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
    """Which ones, that is; what compiling does is seen in tests/models/test_compiling.py."""
    asked = request(world, "full+calm", scheme=Scheme(drafter=f"model:{world / 'smaller'}", chunk_size=2))
    compiled: list[object] = []
    monkeypatch.setattr("mpg_cli.models.served.compile_model", compiled.append)
    for module in ("mpg_cli.models.experts", "mpg_cli.session"):
        monkeypatch.setattr(f"{module}.is_compiled", compiled.__contains__)
    session = Session.open(replace(asked, model=replace(asked.model, compile=True)))
    models = {id(group.model) for group in session._lineup.groups}
    assert len(models) == 3
    assert {id(model) for model in compiled} == models


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
    assert any(isinstance(e, Notice) and "made for somewhere/else" in e.message for e in events)


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
    layer = next(iter(session._lineup.bank._layers.values()))
    layer.stacks[session._lineup.draft.group.stack][1].fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"merged drafter \(bold, calm\)"):
        list(session.replies(asked))


def test_a_stop_string_found_at_the_very_end_counts(world: Path) -> None:
    """The text of the last token is held back (half a character behind it) and holds the stop string."""
    tokenizer = byte_tokenizer()
    text = ReplyText(tokenizer, ["END"], frozenset())
    shown, used = text.push(tokenizer("so END")["input_ids"][:-1])
    assert (shown, used) == ("so ", 5)
    half = tokenizer("é")["input_ids"][0]
    text = ReplyText(tokenizer, ["END\ufffd"], frozenset())
    text.push([*tokenizer("so END")["input_ids"], half])
    assert not text.stopped
    text.flush()
    assert text.stopped
    assert text.whole == "so "


def test_stop_between_events_interrupts_and_keeps_the_text(world: Path) -> None:
    asked = request(world, samples=3, sampling=Sampling(max_tokens=100))
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


def test_a_reply_cannot_go_on_where_another_was_begun(world: Path) -> None:
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
    with pytest.raises(UsageError, match="another reply was begun"):
        list(first)
    assert [event.text for event in second if isinstance(event, Finished)] == expected


def test_a_prompt_beyond_the_context_is_an_error(world: Path) -> None:
    with pytest.raises(ContextError, match="160"):
        run(request(world, prompt="long " * 60))
    events = run(request(world, prompt="long " * 20, sampling=Sampling(max_tokens=150)))
    assert any(isinstance(e, Notice) and "--max-tokens 150" in e.message for e in events)
    end = next(e for e in events if isinstance(e, Finished))
    assert end.finish_reason in ("length", "stop")


def test_a_persona_without_an_expert_for_the_model_is_an_error(world: Path) -> None:
    with pytest.raises(PersonaError, match="other has neither a prompt nor an adapter"):
        run(request(world, "other"))


def test_falling_back_on_the_prompt_is_said(world: Path) -> None:
    (world / "fallback.yaml").write_text(
        "name: fallback\nprompt: Be odd.\nadapters: [{base: elsewhere, path: calm}]\n"
    )
    notices = [e.message for e in run(request(world, "fallback+bold")) if isinstance(e, Notice)]
    assert any("the system prompt is the expert: fallback" in message for message in notices)


def test_adapters_without_personas(world: Path) -> None:
    asked = request(
        world,
        "",
        adapters=tuple((AdapterPlace(world / name), w) for name, w in (("bold", 1.0), ("calm", 0.5))),
    )
    by_path = finished(asked)
    assert by_path.token_ids == finished(request(world)).token_ids
    assert next(e for e in run(asked) if isinstance(e, Started)).persona == "bold+calm:0.5"


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
