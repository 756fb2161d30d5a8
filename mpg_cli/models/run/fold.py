"""A dense copy of a model with the weighted ΔW of adapters added: a drafter as fast as the base.

Weights that no adapter changes are shared with the model. Independent of transformers.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.linear import base_layer, is_conv1d, with_weight
from mpg_cli.models.load.adapter import Row, row_factors


def fold(model: nn.Module, row: Row) -> nn.Module:
    """A copy with W + Σ w·s·B·A in place of W, summed in float32 and rounded to the dtype of the weight.

    The adapters must have passed `fit_adapter`. Raises AdapterError where a sum overflows the dtype.
    """
    targets = dict.fromkeys(module for adapter, _ in row for module in adapter.pairs)
    memo: dict[int, Any] = {id(p): p for p in (*model.parameters(), *model.buffers())}
    alive: list[object] = []  # keeps objects alive whose ids are in the memo
    for name, module in model.named_modules():
        own = base_layer(module)
        if name in targets:
            memo[id(module)] = with_weight(own, summed_weight(name, own, row))
        elif own is not module:
            memo[id(module)] = own
    bank = getattr(model, "_mpg_bank", None)
    if bank is not None:
        alive.append(bank)
        memo[id(bank)] = "left out"
    folded: nn.Module = copy.deepcopy(model, memo)
    folded.__dict__.pop("_mpg_bank", None)
    return folded


def summed_weight(name: str, layer: nn.Module, row: Row) -> torch.Tensor:
    """W + Σ w·s·B·A of one layer, plain, in the shape and dtype of its weight. Raises as `fold` does."""
    a, b = row_factors(name, row)  # (r, d_in), (d_out, r)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    delta = b.to(weight.device) @ a.to(weight.device)  # (d_out, d_in)
    if is_conv1d(layer):
        delta = delta.T  # (d_in, d_out)
    total = (weight.detach().to_dense().float() + delta).to(weight.dtype)
    if not bool(total.isfinite().all()):
        raise AdapterError(
            f"the merged drafter: {name} exceeds the range of {str(weight.dtype).removeprefix('torch.')}",
            hint="choose --dtype bfloat16 or float32, or --drafter merged",
        )
    return total
