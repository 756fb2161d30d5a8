"""The baselines: transformers' `generate`, and token-by-token decoding with PEFT's adapters.

Each is a function `run(limit)` that returns one reply to each prompt of the subject as token ids. Replies
end at the end token or at the limit; prefill is included in the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache

from benchmarks.models import Subject
from mpg_cli.models.load.adapter import Row
from mpg_cli.models.load.checkpoint import cache_argument
from mpg_cli.models.run.fold import fold, summed_weight
from mpg_cli.models.text.prompt import render

Run = Callable[[int], list[list[int]]]


def prompt_ids(subject: Subject) -> list[Tensor]:
    """Token ids (1, T) of every prompt."""
    device = subject.loaded.device.value
    return [
        torch.tensor([render(subject.loaded.tokenizer, prompting)], device=device)
        for prompting in subject.prompts
    ]


def _plain(subject: Subject) -> Any:
    """The model with the same parameters and its original layers, without mpg's."""
    return fold(subject.loaded.model, ())


def _ends(subject: Subject) -> int:
    return int(subject.loaded.tokenizer.eos_token_id)


def base_step(subject: Subject, *, prepared: bool = False) -> Callable[[], None]:
    """A one-token pass of the bare base after a prompt, the unit of cost; `prepared`: in mpg's layout."""
    ids = prompt_ids(subject)[0]
    model = fold(subject.prepared.model, ()) if prepared else _plain(subject)
    cache = DynamicCache(config=subject.loaded.config)
    inputs: dict[str, Any] = {cache_argument(type(model)): cache, "use_cache": True}
    with torch.inference_mode():
        model(ids, **inputs)

    def run() -> None:
        with torch.inference_mode():
            model(ids[:, -1:], **inputs)
        cache.crop(-1)

    return run


def generate_base(subject: Subject) -> Run:
    """transformers' `generate` on the base alone."""
    return _generate(subject, _plain(subject))


def generate_merged(subject: Subject) -> Run:
    """transformers' `generate` on the base with the exact sum of all weighted adapters folded in."""
    return _generate(subject, fold(subject.loaded.model, _row(subject)))


def generate_merged_in_place(subject: Subject) -> Run:
    """`generate_merged` with the adapters added to the loaded model in place."""
    row = _row(subject)
    for name, module in subject.loaded.model.named_modules():
        if any(name in adapter.pairs for adapter, _ in row):
            weight: Any = module.weight
            weight.copy_(summed_weight(name, module, row))
    return generate_base(subject)


def _row(subject: Subject) -> Row:
    return [(expert.adapter, expert.weight) for expert in subject.experts if expert.adapter is not None]


def _generate(subject: Subject, model: Any) -> Run:
    prompts, end = prompt_ids(subject), _ends(subject)

    def run(limit: int) -> list[list[int]]:
        replies = []
        for place, ids in enumerate(prompts):
            torch.manual_seed(place)  # so that a shorter run is a prefix of a longer one
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
            replies.append(out[0, ids.shape[1] :].tolist())
        return replies

    return run


def sequential(subject: Subject) -> Run:
    """Token-by-token decoding with one pass per adapter: base and adapters in turn, each with its own cache.

    Each adapter is active in its own model, which shares the weights of the base, so no adapter is switched
    between passes.
    """
    models = [_plain(subject), *(_peft(subject, [folder]) for folder in subject.folders)]
    last, name = _last(subject), cache_argument(type(subject.loaded.model))

    def logits(rows: list[DynamicCache], ids: Tensor) -> Tensor:
        found = [
            model(ids, use_cache=True, logits_to_keep=last, **{name: cache}).logits[:, -1]
            for model, cache in zip(models, rows, strict=True)
        ]
        return torch.cat(found)  # (K+1, V)

    def caches() -> list[DynamicCache]:
        return [DynamicCache(config=subject.loaded.config) for _ in models]

    return _token_by_token(subject, caches, logits)


def mixed_batch(subject: Subject) -> Run:
    """Token-by-token decoding with PEFT's mixed batch: one pass over K+1 rows, each with its adapter name."""
    model = _peft(subject, subject.folders)
    rows = ["__base__", *(folder.name for folder in subject.folders)]
    last, name = _last(subject), cache_argument(type(subject.loaded.model))

    def logits(caches: list[DynamicCache], ids: Tensor) -> Tensor:
        output = model(
            ids.expand(len(rows), -1),
            use_cache=True,
            logits_to_keep=last,
            adapter_names=rows,
            **{name: caches[0]},
        )
        return cast(Tensor, output.logits[:, -1])  # (K+1, V)

    return _token_by_token(subject, lambda: [DynamicCache(config=subject.loaded.config)], logits)


def _last(subject: Subject) -> Tensor:
    """The position of the logits as an index tensor: for an int PyTorch copies the head's weight per row."""
    return torch.tensor([-1], device=subject.loaded.device.value)


def _peft(subject: Subject, folders: Sequence[Path]) -> Any:
    """The model with these adapters in PEFT, the first one active."""
    first, *others = folders
    model = PeftModel.from_pretrained(
        _plain(subject), first, adapter_name=first.name, autocast_adapter_dtype=False
    )
    for folder in others:
        model.load_adapter(folder, folder.name, autocast_adapter_dtype=False)
    return model.eval()


def _token_by_token(
    subject: Subject,
    caches: Callable[[], list[DynamicCache]],
    logits: Callable[[list[DynamicCache], Tensor], Tensor],
) -> Run:
    """One token per step from the product of all rows, at temperature 1."""
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

    def run(limit: int) -> list[list[int]]:
        replies = []
        with torch.inference_mode():
            for place, ids in enumerate(prompts):
                torch.manual_seed(place)  # so that a shorter run is a prefix of a longer one
                replies.append(list(tokens(ids, limit)))
        return replies

    return run
