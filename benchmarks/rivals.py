"""What users would run instead of mpg: plain `generate`, and lock-step decoding with PEFT's adapters.

Every contender has the same shape: `run(limit)` answers all prompts of the subject and says how many tokens
that made. Replies end at the end token or at the limit, and reading the prompt counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache

from benchmarks.models import Subject
from mpg_cli.models.fold import fold
from mpg_cli.models.prompt import render

Run = Callable[[int], int]


def prompt_ids(subject: Subject) -> list[Tensor]:
    """Token ids (1, T) of every prompt."""
    device = subject.loaded.device.value
    return [
        torch.tensor([render(subject.loaded.tokenizer, prompting)], device=device)
        for prompting in subject.prompts
    ]


def _plain(subject: Subject) -> Any:
    """The model with layers of its own kind and the same parameters: nothing of mpg is in its way."""
    return fold(subject.loaded.model, ())


def _ends(subject: Subject) -> int:
    return int(subject.loaded.tokenizer.eos_token_id)


def base_step(subject: Subject, *, served: bool = False) -> Callable[[], None]:
    """A one-token pass of the bare base behind a prompt: the unit of cost. Or the same in mpg's layout."""
    ids = prompt_ids(subject)[0]
    model = fold(subject.served.model, ()) if served else _plain(subject)
    cache = DynamicCache(config=subject.loaded.config)
    with torch.inference_mode():
        model(ids, past_key_values=cache, use_cache=True)

    def run() -> None:
        with torch.inference_mode():
            model(ids[:, -1:], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return run


def generate_base(subject: Subject) -> Run:
    """transformers' `generate` on the base alone."""
    return _generate(subject, _plain(subject))


def generate_merged(subject: Subject) -> Run:
    """transformers' `generate` on the base with the exact sum of all weighted adapters folded in."""
    row = [(expert.adapter, expert.weight) for expert in subject.experts if expert.adapter is not None]
    return _generate(subject, fold(subject.loaded.model, row))


def _generate(subject: Subject, model: Any) -> Run:
    prompts, end = prompt_ids(subject), _ends(subject)

    def run(limit: int) -> int:
        made = 0
        for place, ids in enumerate(prompts):
            torch.manual_seed(place)  # half a reply is the first half of a whole one
            with torch.inference_mode():
                out = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    top_k=0,
                    max_new_tokens=limit,
                    eos_token_id=end,
                    pad_token_id=end,
                )
            made += out.shape[1] - ids.shape[1]
        return made

    return run


def sequential(subject: Subject) -> Run:
    """Lock-step with a pass an adapter: the base and each adapter in turn, each with a cache of its own."""
    model, names = _peft(subject)

    def logits(rows: list[DynamicCache], ids: Tensor) -> Tensor:
        found = []
        with model.disable_adapter():
            found.append(model(ids, past_key_values=rows[0], use_cache=True).logits[:, -1])
        for name, cache in zip(names, rows[1:], strict=True):
            model.set_adapter(name)
            found.append(model(ids, past_key_values=cache, use_cache=True).logits[:, -1])
        return torch.cat(found)  # (K+1, V)

    def caches() -> list[DynamicCache]:
        return [DynamicCache(config=subject.loaded.config) for _ in range(len(names) + 1)]

    return _lock_step(subject, caches, logits)


def mixed_batch(subject: Subject) -> Run:
    """Lock-step with PEFT's mixed batch: one pass over K+1 rows, the adapter of each named."""
    model, names = _peft(subject)
    rows = ["__base__", *names]

    def logits(caches: list[DynamicCache], ids: Tensor) -> Tensor:
        output = model(
            ids.expand(len(rows), -1), past_key_values=caches[0], use_cache=True, adapter_names=rows
        )
        last: Tensor = output.logits[:, -1]  # (K+1, V)
        return last

    return _lock_step(subject, lambda: [DynamicCache(config=subject.loaded.config)], logits)


def _peft(subject: Subject) -> tuple[Any, list[str]]:
    """The model with all adapters in PEFT, and their names."""
    folders = subject.folders
    names = [folder.name for folder in folders]
    model = PeftModel.from_pretrained(
        _plain(subject), folders[0], adapter_name=names[0], autocast_adapter_dtype=False
    )
    for name, folder in zip(names[1:], folders[1:], strict=True):
        model.load_adapter(folder, name, autocast_adapter_dtype=False)
    return model.eval(), names


def _lock_step(
    subject: Subject,
    caches: Callable[[], list[DynamicCache]],
    logits: Callable[[list[DynamicCache], Tensor], Tensor],
) -> Run:
    """One token a step from the product of all rows, temperature 1."""
    prompts, end = prompt_ids(subject), _ends(subject)
    weight = subject.scale

    def tokens(ids: Tensor, limit: int) -> Iterator[int]:
        state = caches()
        for _ in range(limit):
            log_probs = torch.log_softmax(logits(state, ids).float(), dim=-1)  # (K+1, V)
            log_p = log_probs[0] + weight * (log_probs[1:] - log_probs[0]).sum(dim=0)  # (V,)
            token = int(torch.multinomial(torch.softmax(log_p, dim=-1), 1))
            yield token
            if token == end:
                return
            ids = torch.tensor([[token]], device=ids.device)

    def run(limit: int) -> int:
        with torch.inference_mode():
            made = 0
            for place, ids in enumerate(prompts):
                torch.manual_seed(place)  # half a reply is the first half of a whole one
                made += sum(1 for _ in tokens(ids, limit))
            return made

    return run
