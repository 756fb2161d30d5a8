"""Measure sampling parameters on a model: `python -m studies.own_sampling FOLDER`, a few minutes on one core.

Writes docs/own-sampling.md, from which the table in mpg_cli/models/load/own_sampling.py takes its values. The
plain model replies, without a persona.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from mpg_cli.evaluation.diversity import distinct, ngrams, words
from mpg_cli.evaluation.prompts import read_prompts
from mpg_cli.models.load.checkpoint import cache_argument
from mpg_cli.models.load.own_sampling import MEASURED
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.targets import warp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "own-sampling.md"
PROMPTS, TOKENS, AT_ONCE, SEED = 24, 128, 6, 0
STRAY = 1e-3  # a sampled token less likely than this under the model at temperature 1
LOOP = 3  # a reply in which four words in a row occur so often repeats itself
GRID = (
    SamplingLaw(temperature=1),
    SamplingLaw(temperature=1, top_p=0.9),
    SamplingLaw(temperature=1, min_p=0.05),
    SamplingLaw(temperature=1, min_p=0.1),
    SamplingLaw(temperature=0.8, top_p=0.95),
    SamplingLaw(temperature=0.8, top_p=0.9),
    SamplingLaw(temperature=0.8, min_p=0.1),
    SamplingLaw(temperature=0.6),
    SamplingLaw(temperature=0.6, top_p=0.9),
    SamplingLaw(temperature=0.6, min_p=0.1),
    SamplingLaw(temperature=0.4, top_p=0.9),
    SamplingLaw(temperature=0.2, top_p=0.9),
    SamplingLaw(temperature=0),
)
HEAD = """\
# SamplingLaw of models that say nothing

Written by `python -m studies.own_sampling FOLDER`; do not edit.

The plain model {model} in {dtype} replies to {prompts} prompts with at most {tokens} tokens, once with each
of these parameters.

* NLL: mean −log p of the sampled tokens under the model at temperature 1, in nats.
* stray: sampled tokens with p < {stray:g} under the model at temperature 1, in a hundred. One of them can
  turn a sentence into nonsense.
* clean: replies without any.
* loops: replies in which the same four words in a row occur {loop} times or more.
* distinct-2: distinct pairs of words within a reply.

"""
TAIL = """
Truncation removes the stray tokens; a temperature below 0.8 adds little to it but loops. So `mpg` takes
{chosen} for SmolLM2, whose file generation_config.json says nothing. With 24
replies each, a few loops more or less are chance.
"""


@dataclass(frozen=True)
class Reply:
    """The text of a reply, and log p of its tokens at temperature 1."""

    text: str
    log_probs: tuple[float, ...]

    @property
    def stray(self) -> int:
        """Tokens of p < STRAY."""
        return sum(p < math.log(STRAY) for p in self.log_probs)

    @property
    def loops(self) -> bool:
        grams = ngrams(words(self.text), 4)
        return any(grams.count(gram) >= LOOP for gram in set(grams))


@torch.inference_mode()
def replies(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[list[Reply]]:
    """Replies to the prompts with each entry of GRID, all in one batch of G * P rows."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]
    batch = tokenizer(
        chats * len(GRID), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (G * P, T)
    rows, cache, end = len(ids), DynamicCache(), tokenizer.eos_token_id
    generator = torch.Generator().manual_seed(SEED)
    tokens: list[list[int]] = [[] for _ in range(rows)]
    found: list[list[float]] = [[] for _ in range(rows)]
    done = torch.zeros(rows, dtype=torch.bool)
    for _ in range(TOKENS):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=1,
            **{cache_argument(type(model)): cache},
        )
        log_p = out.logits[:, -1].float().log_softmax(-1)  # (G * P, V)
        ids = _drawn(log_p, generator)
        of_ids = log_p.gather(-1, ids)[:, 0].tolist()
        done |= ids[:, 0] == end
        for row in (~done).nonzero()[:, 0].tolist():
            tokens[row].append(int(ids[row, 0]))
            found[row].append(of_ids[row])
        if done.all():
            break
        mask = torch.cat([mask, mask.new_ones(rows, 1)], 1)
    texts = [Reply(tokenizer.decode(own), tuple(p)) for own, p in zip(tokens, found, strict=True)]
    return [texts[at : at + len(prompts)] for at in range(0, rows, len(prompts))]


def _drawn(log_p: Tensor, generator: torch.Generator) -> Tensor:
    """A token (G * P, 1) for each row of log p (G * P, V)."""
    parts = log_p.chunk(len(GRID))
    warped = torch.cat([warp(part, law) for part, law in zip(parts, GRID, strict=True)])
    return torch.multinomial(warped.exp(), 1, generator=generator)


def table(found: Sequence[Sequence[Reply]]) -> list[str]:
    """One row of the table for each entry of GRID."""
    lines = [
        "| temperature | top-p | min-p | NLL | stray | clean | loops | distinct-2 | words |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for law, own in zip(GRID, found, strict=True):
        p = [value for reply in own for value in reply.log_probs]
        stray = sum(reply.stray for reply in own)
        clean, loops = (sum(x) for x in ([not r.stray for r in own], [r.loops for r in own]))
        pairs = fmean(distinct([words(r.text)], 2) or 0.0 for r in own)
        length = fmean(len(words(r.text)) for r in own)
        lines.append(
            f"| {law.temperature:g} | {law.top_p:g} | {law.min_p:g} | {-fmean(p):.2f} "
            f"| {100 * stray / len(p):.2f} | {clean} of {len(own)} | {loops} | {pairs:.2f} | {length:.0f} |"
        )
    return lines


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = read_prompts(None, PROMPTS)
    found: list[list[Reply]] = [[] for _ in GRID]
    for at in range(0, len(prompts), AT_ONCE):
        for own, more in zip(found, replies(model, tokenizer, prompts[at : at + AT_ONCE]), strict=True):
            own += more
        print(f"{time.perf_counter() - began:5.0f} s  {at + AT_ONCE} prompts", flush=True)
    head = HEAD.format(
        model=folder.name,
        dtype="bfloat16",
        prompts=len(prompts),
        tokens=TOKENS,
        stray=STRAY,
        loop=LOOP,
    )
    smol = MEASURED["smollm2"]
    tail = TAIL.format(chosen=f"temperature {smol.temperature:g} and min-p {smol.min_p:g}")
    lines = [head, *table(found), tail]
    for law, own in zip(GRID, found, strict=True):
        print(f"--- {law.temperature:g} {law.top_p:g} {law.min_p:g}")
        print("\n".join(reply.text.replace("\n", " ")[:300] for reply in own[:3]))
    PAGE.write_text("\n".join(lines).replace("\n\n\n", "\n\n"), encoding="utf-8")


if __name__ == "__main__":
    main()
