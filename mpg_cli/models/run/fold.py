"""A dense copy of a model with the weighted ΔW of adapters added: a drafter as fast as the base.

Weights that no adapter changes are shared with the model. Independent of transformers.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.linear import base_layer, is_conv1d, with_weight
from mpg_cli.models.load.adapter import Row, RowKey, row_factors, row_key
from mpg_cli.models.run.plan import plan_of

LIMIT = 4 * 2**30  # bytes of kept copies: ten of a model of 0.2 B parameters in 16 bits, none of a large one

_BANK = "_mpg_lora_bank"  # attribute of a model that its copies do not have


def fold(model: nn.Module, row: Row) -> nn.Module:
    """A copy with W + Σ w·s·B·A in place of W, summed in float32 and rounded to the dtype of the weight.

    The adapters must have passed `fit_adapter`. Raises AdapterError where a sum overflows the dtype.
    """
    targets = dict.fromkeys(module for adapter, _ in row for module in adapter.pairs)
    memo: dict[int, Any] = {id(p): p for p in (*model.parameters(), *model.buffers())}
    for name, module in model.named_modules():
        own = base_layer(module)
        if name in targets:
            memo[id(module)] = with_weight(own, summed_weight(name, own, row))
        elif own is not module:
            memo[id(module)] = own
    bank = getattr(model, _BANK, None)
    if bank is not None:
        memo[id(bank)] = "left out"
    folded: nn.Module = copy.deepcopy(model, memo)
    folded.__dict__.pop(_BANK, None)
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


class FoldedCopies:
    """The folded copies of a model, by row. The ones used last are kept, up to `limit` bytes.

    A copy counts with the tensors that it does not share with the model. One that is no longer kept is freed
    with its last user; until then it is found again.
    """

    def __init__(self, model: nn.Module, limit: int = LIMIT) -> None:
        self._model, self._limit = model, limit
        self._all: WeakValueDictionary[RowKey, nn.Module] = WeakValueDictionary()
        self._kept: OrderedDict[RowKey, nn.Module] = OrderedDict()

    def get(self, row: Row) -> nn.Module:
        """The copy with W + Σ w·s·B·A in place of W; raises as `fold` does."""
        key = row_key(row)
        found = self._all.get(key)
        if found is None:
            found = self._all[key] = fold(self._model, row)
            plan_of(self._model).prepare_copy(found, self._model)
        self._kept[key] = found
        self._kept.move_to_end(key)
        while self.nbytes() > self._limit:
            self._kept.popitem(last=False)
        return found

    def nbytes(self) -> int:
        """Bytes of the copies that are kept."""
        shared = {id(tensor) for tensor in _tensors(self._model)}
        return sum(
            t.nbytes for copied in self._kept.values() for t in _tensors(copied) if id(t) not in shared
        )


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
