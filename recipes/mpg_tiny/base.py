"""The base: a small Llama trained from scratch on the generated dialogues; the loss is on the
replies only.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.mpg_tiny.corpus import Spec, corpus, messages
from recipes.mpg_tiny.muon import Muon
from recipes.mpg_tiny.tokenizer import ASSISTANT, CONTEXT, END, SYSTEM, USER, save_tokenizer, train_tokenizer

IGNORE = -100
MIN_P = 0.1  # the sampling that the model asks for


@dataclass(frozen=True)
class BaseSettings:
    """Size and schedule of the base."""

    steps: int = 2500
    tokens_per_step: int = 4096
    vocabulary: int = 2048
    hidden: int = 160
    layers: int = 4
    heads: int = 5
    intermediate: int = 448
    matrix_rate: float = 0.02  # Muon, for the matrices of the layers
    other_rate: float = 3e-3  # AdamW, for embeddings and norms
    warmup: int = 50


Example = tuple[list[int], list[int]]


def encode(spec: Spec, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Token ids and labels of a dialogue; only replies with their end tokens have labels."""
    ids: list[int] = []
    labels: list[int] = []
    end = tokenizer.convert_tokens_to_ids(END)
    marks = {role: tokenizer.convert_tokens_to_ids(mark) for role, mark in _MARKS.items()}
    for message in messages(spec):
        body = tokenizer(message["content"], add_special_tokens=False)["input_ids"] + [end]
        ids += [marks[message["role"]], *body]
        labels += [IGNORE, *(body if message["role"] == "assistant" else [IGNORE] * len(body))]
    return ids, labels


_MARKS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


def batches(
    examples: list[Example], tokens: int, pad: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches of at most this many tokens, padded on the right, grouped by length."""
    order = list(range(len(examples)))
    rng.shuffle(order)
    ready: list[list[int]] = []
    for start in range(0, len(order), 2000):
        window = sorted(order[start : start + 2000], key=lambda index: len(examples[index][0]))
        group: list[int] = []
        for index in window:
            if group and len(examples[index][0]) * (len(group) + 1) > tokens:
                ready.append(group)
                group = []
            group.append(index)
        if group:
            ready.append(group)
    rng.shuffle(ready)
    for group in ready:
        width = max(len(examples[index][0]) for index in group)
        rows = [examples[index] for index in group]
        ids = torch.tensor([row + [pad] * (width - len(row)) for row, _ in rows])  # (B, T)
        labels = torch.tensor([row + [IGNORE] * (width - len(row)) for _, row in rows])  # (B, T)
        yield ids, labels


def build_model(settings: BaseSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the given size."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        min_p=MIN_P,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def train_base(
    settings: BaseSettings, seed: int, prompts: dict[str, str]
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train tokenizer and model; prints the loss periodically."""
    started = time.perf_counter()
    rng = random.Random(f"{seed}/base")
    torch.manual_seed(seed)
    count = settings.steps * settings.tokens_per_step // 75 + 2000
    specs = list(corpus(count, seed, prompts))
    sample = (message["content"] for spec in specs[:12000] for message in messages(spec))
    tokenizer = train_tokenizer(sample, settings.vocabulary)
    examples = [encode(spec, tokenizer) for spec in specs]
    print(
        f"base: {count} dialogues, {sum(len(ids) for ids, _ in examples)} tokens, "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    model = build_model(settings, tokenizer)
    print(f"base: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=settings.matrix_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = (settings.matrix_rate, settings.other_rate)
    model.train()
    step, mean = 0, 0.0
    while step < settings.steps:
        for ids, labels in batches(examples, settings.tokens_per_step, int(tokenizer.pad_token_id), rng):
            share = _schedule(step, settings)
            for optimizer, rate in zip(optimizers, rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * share
            # Padding is on the right, so causal attention needs no mask.
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, H)
            target = labels[:, 1:]  # (B, T-1)
            counted = target != IGNORE
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), target[counted])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            mean = loss.item() if step == 1 else 0.95 * mean + 0.05 * loss.item()
            if step % 50 == 0 or step == settings.steps:
                print(f"base: step {step} loss {mean:.4f} {time.perf_counter() - started:.0f} s", flush=True)
            if step >= settings.steps:
                break
    return model.eval(), tokenizer


def _schedule(step: int, settings: BaseSettings) -> float:
    """Linear warm-up, then a cosine down to 2 % of the rate."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model and its tokenizer in the format of transformers."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # saved as readable by its owner only
    save_tokenizer(tokenizer, folder)
