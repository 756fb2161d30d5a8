"""What a reply is drawn from and where it ends: against transformers and PEFT, under every rule."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

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

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished, Text
from mpg_cli.errors import UsageError
from mpg_cli.models.text.detokenizer import ReplyText
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.models import BYTES, tiny_model
from tests.support.requests import finished, request, run
from tests.support.tokenizers import byte_tokenizer
from tests.support.world import CONTEXT


def test_mixture_and_warpers_keep_the_equality(world: Path) -> None:
    for target, sampling in (
        ("mixture", SamplingLaw(max_tokens=20)),
        ("product", SamplingLaw(max_tokens=20, temperature=0.7, top_p=0.8, repetition_penalty=1.3)),
        ("product", SamplingLaw(max_tokens=20, temperature=0)),
    ):
        asked = request(world, sampling=sampling, scheme=Scheme(target=target, drafter="none"))  # type: ignore[arg-type]
        chunked = replace(asked, scheme=Scheme(target=target, chunk_size=5))  # type: ignore[arg-type]
        assert finished(asked).token_ids == finished(chunked).token_ids


def test_unknown_ids_are_never_sampled(world: Path) -> None:
    """The model has more embeddings than the tokenizer has tokens."""
    hot = request(world, sampling=SamplingLaw(max_tokens=100, temperature=50.0), samples=8)
    engine = Engine.load(hot.model)
    padded = replace(engine.loaded, tokenizer=byte_tokenizer(extra=0))
    assert padded.vocabulary.size == 257 < engine.loaded.vocabulary.size
    found = []
    for each in (engine, Engine(padded)):
        ends = [e for e in each.replies(hot) if isinstance(e, Finished)]
        found.append({token for e in ends for token in e.token_ids})
    assert max(found[0]) > 256 > max(found[1])


@pytest.mark.parametrize("rule", ["exact", "block", "threshold"])
def test_penalties_and_bias_count_under_every_rule(world: Path, rule: str) -> None:
    scheme = Scheme(rule=rule, chunk_size=3)  # type: ignore[arg-type]
    never = finished(request(world, scheme=scheme)).token_ids[:3]
    banned = tuple((token, -100.0) for token in set(never))
    end = finished(request(world, scheme=scheme, sampling=SamplingLaw(max_tokens=24, logit_bias=banned)))
    assert end.token_ids
    assert not set(end.token_ids) & set(never)
    wide = SamplingLaw(max_tokens=60, temperature=0.01, frequency_penalty=2.0, presence_penalty=2.0)
    plain = replace(wide, frequency_penalty=0.0, presence_penalty=0.0)
    often, seldom = (
        max(Counter(finished(request(world, scheme=scheme, sampling=s)).token_ids).values())
        for s in (plain, wide)
    )
    assert seldom < often


def test_ids_that_the_model_does_not_have_are_refused(world: Path) -> None:
    for sampling in (SamplingLaw(stop_token_ids=(5000,)), SamplingLaw(logit_bias=((5000, 1.0),))):
        with pytest.raises(UsageError, match=r"5000 is not a token id of"):
            finished(request(world, sampling=sampling))


def test_a_stop_token_ends_the_reply_before_it(world: Path) -> None:
    whole = finished(request(world)).token_ids
    end = finished(request(world, sampling=SamplingLaw(max_tokens=24, stop_token_ids=(whole[7],))))
    assert end.token_ids == whole[: whole.index(whole[7])]
    assert end.finish_reason == "stop"


def test_a_reply_continues_its_prefill(world: Path) -> None:
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


def test_stop_strings_end_the_reply_wherever_the_chunks_fall(world: Path) -> None:
    whole = finished(request(world)).text
    stop = next(whole[i : i + 2] for i in range(8, len(whole)) if whole[i : i + 2].isascii())
    for gamma in (0, 3, 8):
        end = finished(
            request(world, sampling=SamplingLaw(max_tokens=24, stop=(stop,)), scheme=Scheme(chunk_size=gamma))
        )
        assert end.finish_reason == "stop"
        assert end.text == whole[: whole.index(stop)]
        assert end.stats.committed == len(end.token_ids)


def test_the_reference_alone_is_what_transformers_computes(world: Path) -> None:
    """Greedy, one expert of weight tiny: the text of the base model's own greedy generation."""
    asked = request(world, "bold:0.000001", sampling=SamplingLaw(max_tokens=12, temperature=0))
    engine = Engine.load(asked.model)
    end = next(e for e in engine.replies(asked) if isinstance(e, Finished))
    tokenizer, model = (
        engine.loaded.tokenizer,
        tiny_model("llama", 0, **BYTES, max_position_embeddings=CONTEXT),
    )
    ids = tokenizer("<user>Hello</><assistant>", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
    assert list(end.token_ids) == [t for t in expected if t != 256]


REPLAYED = {
    "product": ("bold:0.9+calm:-0.4", SamplingLaw(max_tokens=20)),
    "mixture": ("bold:3+calm", SamplingLaw(max_tokens=20)),
    "warped": (
        "bold:0.9+calm:0.4",
        SamplingLaw(max_tokens=20, temperature=0.8, top_k=60, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    ),
    "penalised": ("bold:0.9+calm:0.4", SamplingLaw(max_tokens=20, temperature=0.3, repetition_penalty=3.0)),
}


@pytest.mark.parametrize("case", REPLAYED)
def test_the_text_is_the_one_computed_by_hand_from_pefts_models(world: Path, case: str) -> None:
    """Every token again: PEFT's log-probabilities, the formula in float64, transformers' own warpers."""
    personas, sampling = REPLAYED[case]
    target = "mixture" if case == "mixture" else "product"
    asked = request(world, personas, sampling=sampling, scheme=Scheme(target=target, chunk_size=3))  # type: ignore[arg-type]
    end = finished(asked)
    base = tiny_model("llama", 0, **BYTES, max_position_embeddings=CONTEXT)
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
    sampling = SamplingLaw(max_tokens=40, temperature=0, repetition_penalty=1.3)
    scheme = Scheme(drafter=drafter, chunk_size=None)
    adapters = tuple((AdapterPlace(world / name), 0.0) for name in ("bold", "calm"))
    asked = request(world, "", adapters=adapters, sampling=sampling, scheme=scheme)
    engine = Engine.load(asked.model)
    end = next(e for e in engine.replies(asked) if isinstance(e, Finished))
    tokenizer, model = (
        engine.loaded.tokenizer,
        tiny_model("llama", 0, **BYTES, max_position_embeddings=CONTEXT),
    )
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
    engine = Engine.load(asked.model)
    engine.loaded.model.generation_config.eos_token_id = [256, *ends]
    end = next(e for e in engine.replies(asked) if isinstance(e, Finished))
    assert end.finish_reason == "stop"
    assert end.token_ids == whole[:first]


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
