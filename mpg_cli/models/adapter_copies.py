"""Whole weights of the base that an adapter's file carries along, compared with the base's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mpg_cli.models.fast.prepacked import dense
from mpg_cli.models.problems import Problems
from mpg_cli.personas.adapter_config import has_suffix
from mpg_cli.personas.adapter_names import Names, beside_text

MERGE_HINT = "merge it into its base (PEFT's merge_and_unload) and use the result as a `checkpoint` expert"
TOKENS_HINT = (
    "merge it into its base with the embeddings resized as in training (resize_token_embeddings, PEFT's "
    "merge_and_unload), save that with the adapter's tokenizer, and give the folder as --model: adapters of "
    "the base fit it as well"
)


def check_copies(
    copies: Mapping[str, Tensor], saved: Sequence[str], model: nn.Module, backbone: str, problems: Problems
) -> str | None:
    """Note copies that are not the model's own weights, and modules of `saved` without any.

    Returns a hint for what was found.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False)) if copies else {}
    names = Names(parameters, backbone)
    hint, there = None, set()
    for name, copy in copies.items():
        found = names.find(name)
        there.update(found)
        if not found:
            problems.add("the file brings this weight, and the model has none of this name", name)
        elif len(found) > 1:
            problems.add(several(found), name)
        elif _longer(copy, own := parameters[found[0]]):
            problems.add(added(len(copy), len(own)), name)
            hint = TOKENS_HINT
        elif not _same(own, copy):
            problems.add("the file brings its own version, and it is not the base's; not implemented", name)
            hint = hint or MERGE_HINT
    for name, _ in model.named_modules():
        whole = has_suffix(name, saved) and not beside_text(name)
        if whole and not any(weight.startswith(f"{name}.") for weight in there):
            problems.add("modules_to_save names it, but the file has no weights for it", name)
    return hint


def several(found: Sequence[str]) -> str:
    """That a name of the file means more than one thing."""
    return f"it can be {' or '.join(found)} of the model"


def added(rows: int, own: int) -> str:
    """That a tensor has a row for each of more tokens than the model."""
    return f"has {rows} rows, the model {own}: tokens were added in training"


def _longer(copy: Tensor, own: Tensor) -> bool:
    return copy.dim() == 2 and copy.shape[1:] == own.shape[1:] and len(copy) > len(own)


def _same(own: Tensor, copy: Tensor) -> bool:
    """Equal up to the coarser of the two dtypes. A model of shapes alone has no values to differ.

    The copy may leave out rows at the end: an embedding that was cut to the tokenizer's size.
    """
    if copy.shape[1:] != own.shape[1:] or len(copy) > len(own):
        return False
    if own.is_meta:
        return True
    own, copy = dense(own.detach())[: len(copy)].cpu(), copy.detach()
    return torch.equal(own.to(copy.dtype), copy) or torch.equal(own, copy.to(own.dtype))
