"""Replies of SmolLM2 in float32: equal to PEFT's, and the same whatever drafts or shares a pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.chat.conversation import Conversation
from mpg_cli.chat.transcript import Transcript
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished
from mpg_cli.engine.explained import explained
from mpg_cli.engine.request import Request
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.blending import read_adapters
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.cli import Cli
from tests.support.models import log_probs

WEIGHTS = (0.7, 1.2, -0.4)
QUESTION = "How do I make a good cup of tea?"
CLOSE = 2e-3  # nats, of sums of log-ratios in float32 over 30 layers


def request(
    adapters: Sequence[Path] = (),
    weights: Sequence[float] = WEIGHTS,
    *,
    persona: str = "",
    prompt: str = QUESTION,
    **fields: Any,
) -> Request:
    given = tuple(f"{path}:{weight}" for path, weight in zip(adapters, weights, strict=False))
    whole = Request(
        model=ModelOptions("smollm2", device="cpu", dtype="float32"),
        prompting=Prompting(prompt),
        sampling=limited(16),
        scheme=Scheme(),
        blend=resolve(parse(persona), load_default()).with_prompts if persona else None,
        adapters=read_adapters(given, 1.0),
        seed=3,
    )
    return replace(whole, **fields)


def limited(count: int, temperature: float = 0.8) -> SamplingLaw:
    """At most `count` tokens of the law without truncation and penalties."""
    return SamplingLaw(
        max_tokens=count, temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0
    )


def finished(loaded: LoadedModel, asked: Request) -> Finished:
    """The reply of an engine of its own, with its explanation."""
    engine = Engine(loaded)
    events: list[Event] = list(explained(engine.replies(asked), loaded.tokenizer))
    engine.close()
    return next(event for event in events if isinstance(event, Finished))


def prompt_ids(loaded: LoadedModel, text: str) -> list[int]:
    turns = [{"role": "user", "content": text}]
    ids: list[int] = loaded.tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False
    )
    return ids


def log_ratios(plain: Any, adapters: Sequence[Path], ids: list[int], last: int) -> tuple[Tensor, Tensor]:
    """PEFT's log p0 (last, V) after each of the last tokens but one, and log p_i - log p0 (K, last, V)."""
    from peft import PeftModel

    tokens, place = torch.tensor([ids]), slice(-last - 1, -1)
    reference = log_probs(plain, tokens)[0, place]
    ratios = []
    for path in adapters:
        wrapped = PeftModel.from_pretrained(plain, str(path))
        ratios.append(log_probs(wrapped, tokens)[0, place] - reference)
        wrapped.unload()
    return reference, torch.stack(ratios)


def test_greedy_blend_and_its_contributions_equal_peft(
    loaded: LoadedModel, plain: Any, adapters: Sequence[Path]
) -> None:
    """Every token of the reply is the most probable one under p0 * prod (p_i/p0)^w_i, up to near-ties."""
    asked = request(adapters, sampling=limited(24, temperature=0))
    reply = finished(loaded, asked)
    ids = [*prompt_ids(loaded, QUESTION), *reply.token_ids]
    reference, ratios = log_ratios(plain, adapters, ids, len(reply.token_ids))
    weighted = torch.tensor(WEIGHTS)[:, None, None] * ratios
    target = reference + weighted.sum(0)
    chosen = torch.tensor(reply.token_ids)[:, None]
    behind = target.max(-1).values - target.gather(-1, chosen)[:, 0]
    assert behind.max() < CLOSE
    assert reply.explanation is not None
    found = torch.tensor([token.contributions for token in reply.explanation.tokens])  # (T, K)
    expected = weighted.gather(-1, chosen.expand(len(WEIGHTS), -1, -1))[..., 0].T
    assert (found - expected[: len(found)]).abs().max() < CLOSE
    assert expected.abs().max() > 0.1  # the adapters matter


@pytest.mark.parametrize(
    ("drafter", "chunk_size"),
    [("merged", 1), ("merged", 4), ("merged", 12), ("reference", 4), ("lookup", 4), ("folded", 7)],
)
def test_text_of_a_seed_depends_on_neither_drafter_nor_chunk_size(
    loaded: LoadedModel,
    adapters: Sequence[Path],
    drafter: str,
    chunk_size: int,
    token_by_token: tuple[int, ...],
) -> None:
    asked = request(adapters, scheme=Scheme(drafter=drafter, chunk_size=chunk_size))
    assert finished(loaded, asked).token_ids == token_by_token


@pytest.fixture(scope="module")
def token_by_token(loaded: LoadedModel, adapters: Sequence[Path]) -> tuple[int, ...]:
    asked = request(adapters, scheme=Scheme(drafter="none"))
    return finished(loaded, asked).token_ids


def test_batch_gives_the_texts_of_single_requests(loaded: LoadedModel) -> None:
    """Prompts of different lengths and blends, more of them than slots."""
    prompts = ("Hi!", QUESTION, "Name three rivers.", "Why is the sky blue, and the sunset red?")
    personas = ("pirate+INTJ:0.5", "bard", "pirate+INTJ:0.5", "zen:0.7+noir")
    asked = [
        request(persona=persona, prompt=prompt, sampling=limited(10), sequence_id=place)
        for place, (prompt, persona) in enumerate(zip(prompts, personas, strict=True))
    ]
    events = Engine(loaded, batch_size=3).run(iter(asked))
    found = {event.sequence: event.text for event in events if isinstance(event, Finished)}
    assert found == {one.sequence_id: finished(loaded, one).text for one in asked}


def test_three_turns_of_chat_equal_fresh_engines(loaded: LoadedModel) -> None:
    """Each turn continues on cached rows; its reply is that of a fresh engine for the same messages."""
    asked = request(persona="pirate", sampling=limited(12))
    chat = Conversation(Engine(loaded, batch_size=1), asked, Transcript())
    for turn in ("Hello, who are you?", "Where do you live?", "Tell me more."):
        list(chat.say(turn))
        assert chat.last is not None
        assert chat.last.finished is not None
        so_far = Prompting(None, chat.transcript.messages[:-1])
        alone = replace(asked, prompting=so_far, sequence_id=chat.last.finished.sequence)
        assert finished(loaded, alone).text == chat.last.text
    assert chat.reading.read < chat.reading.tokens


def test_long_prompt_replies_as_peft_does(loaded: LoadedModel, plain: Any, adapters: Sequence[Path]) -> None:
    """1,000 tokens; the law of a single expert at weight 1 is that of its own model."""
    from peft import PeftModel

    items, ids = list[str](), list[int]()
    while len(ids) < 1000:
        items += [f"Item {len(items) + n}: {n * 7 % 101} apples." for n in range(20)]
        ids = prompt_ids(loaded, " ".join(items))
    tokens = torch.tensor([ids])
    wrapped = PeftModel.from_pretrained(plain, str(adapters[0]))
    whole = wrapped.generate(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=6
    )
    wrapped.unload()
    expected = [token for token in whole[0, len(ids) :].tolist() if token not in loaded.end_tokens]
    asked = request(adapters[:1], (1.0,), prompt=" ".join(items), sampling=limited(6, temperature=0))
    assert list(finished(loaded, asked).token_ids) == expected


def test_explain_command(mpg: Cli, smollm2: str) -> None:
    code, out, err = mpg(
        *("explain", "-p", "pirate+INTJ:0.5", "--model", smollm2, "--max-tokens", "12", "--seed", "1"),
        *("--format", "json", QUESTION),
    )
    assert code == 0, err
    record = json.loads(out)
    tokens = record["tokens"]
    assert "".join(token["text"] for token in tokens) == record["text"]
    assert any(abs(nats) > 0.5 for token in tokens for nats in token["contributions"].values())
