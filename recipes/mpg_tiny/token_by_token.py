"""A plain token-by-token sampler for the report, batched over prompts.

It shares no code with the sampler of mpg, so it is an independent reference. Each expert is a merged copy of
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from mpg_cli.models.load.checkpoint import cache_argument

BATCH = 200
Experts = Mapping[str, PreTrainedModel]


def load_experts(base: Path, adapters: Path, names: Sequence[str]) -> dict[str, PreTrainedModel]:
    """The base under "" and a merged copy of it for each adapter, in float32."""
    experts: dict[str, PreTrainedModel] = {
        "": AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    }
    for name in names:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged = PeftModel.from_pretrained(model, str(adapters / name)).merge_and_unload()
        experts[name] = merged.eval()
    return experts


def generate(
    experts: Experts,
    weights: Mapping[str, float],
    prompts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    min_p: float = 0.0,
    max_tokens: int = 256,
    system: str = "",
) -> list[str]:
    """One reply per prompt, sampled at temperature 1 from log p = log π₀ + Σ wᵢ (log πᵢ − log π₀)."""
    opening = [{"role": "system", "content": system}] if system else []
    chats = [
        str(
            tokenizer.apply_chat_template(
                [*opening, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        )
        for prompt in prompts
    ]
    rows = [(experts[""], 1.0 - sum(weights.values()))]
    rows += [(experts[name], weight) for name, weight in weights.items()]
    rows = [(model, weight) for model, weight in rows if abs(weight) > 1e-9]
    generator = torch.Generator().manual_seed(seed)
    replies: list[str] = []
    for start in range(0, len(chats), BATCH):
        batch = tokenizer(
            chats[start : start + BATCH],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        tokens = _sample(rows, batch, int(tokenizer.eos_token_id), generator, min_p, max_tokens)
        replies += [str(tokenizer.decode(reply, skip_special_tokens=True)) for reply in tokens]
    return replies


@torch.inference_mode()
def _sample(
    rows: Sequence[tuple[PreTrainedModel, float]],
    batch: Mapping[str, Tensor],
    end: int,
    generator: torch.Generator,
    min_p: float,
    max_tokens: int,
) -> list[list[int]]:
    """Token ids of one reply per row of the batch; finished rows are removed from time to time."""
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (B, T)
    replies: list[list[int]] = [[] for _ in range(len(ids))]
    place = torch.arange(len(ids))  # (B,) index of the reply of each row
    running = torch.ones(len(ids), dtype=torch.bool)  # (B,)
    caches = [DynamicCache() for _ in rows]
    for _ in range(max_tokens):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        target: Any = 0.0  # (B, V)
        for (model, weight), cache in zip(rows, caches, strict=True):
            out = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
                logits_to_keep=1,
                **{cache_argument(type(model)): cache},
            )
            target = target + weight * out.logits[:, -1].log_softmax(-1)
        probabilities = target.softmax(-1)
        if min_p:
            top = probabilities.max(-1, keepdim=True).values
            probabilities = probabilities.where(probabilities >= min_p * top, torch.zeros(()))
        ids = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
        running &= ids[:, 0] != end
        for index in running.nonzero()[:, 0].tolist():
            replies[int(place[index])].append(int(ids[index, 0]))
        if not running.any():
            break
        mask = torch.cat([mask, mask.new_ones(len(ids), 1)], 1)
        if running.sum() <= 0.85 * len(ids):
            ids, mask, place = ids[running], mask[running], place[running]
            for cache in caches:
                cache.batch_select_indices(running.nonzero()[:, 0])
            running = torch.ones(len(ids), dtype=torch.bool)
    return replies
