# ruff: noqa
# mypy: ignore-errors
"""PLACEHOLDER until e-lora's arrives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpg_cli.models.linear import linear_shape
from mpg_cli.models.load.adapter import Adapter, Row, row_factors
from mpg_cli.models.run.fold import fold
from mpg_cli.models.run.plan import plan_of


@dataclass
class Assignment:
    pairs: dict[str, list[tuple[Tensor, float]]]
    rows: int
    version: int


class _Switch:
    now: Any = None


class StackedLinear(nn.Module):
    def __init__(self, base, switch):
        super().__init__()
        self.d_in, self.d_out = linear_shape(base)
        for n, p in base.named_parameters(recurse=False):
            self.register_parameter(n, p)
        for n, b in base.named_buffers(recurse=False):
            self.register_buffer(n, b, persistent=False)
        self.training = base.training
        object.__setattr__(self, "wrapped_layer", base)
        self.base_forward = base.forward
        self.switch = switch
        self.factors = {}

    def forward(self, x):
        y = self.base_forward(x)
        now = self.switch.now
        if now is None:
            return y
        P = now.rows
        xs, ys = x.reshape(P, -1, self.d_in), y.reshape(P, -1, self.d_out).clone()
        for fp, rows in now.pairs.items():
            if fp not in self.factors:
                continue
            a, b = self.factors[fp]
            for idx, w in rows:
                ys[idx] += (xs[idx] @ a * w) @ b
        return ys.reshape(y.shape)


class LoraBank:
    def __init__(self, model):
        self._model, self._switch, self._layers, self._count, self._folded, self._version = (
            model,
            _Switch(),
            {},
            {},
            {},
            0,
        )

    @classmethod
    def of(cls, model):
        bank = getattr(model, "_mpg_bank2", None)
        if bank is None:
            bank = cls(model)
            object.__setattr__(model, "_mpg_bank2", bank)
        return bank

    def retain(self, adapter: Adapter) -> None:
        self._count[adapter.fingerprint] = self._count.get(adapter.fingerprint, 0) + 1
        if self._count[adapter.fingerprint] > 1:
            return
        for module in adapter.pairs:
            if module not in self._layers:
                layer = StackedLinear(self._model.get_submodule(module), self._switch)
                parent, _, child = module.rpartition(".")
                setattr(self._model.get_submodule(parent), child, layer)
                self._layers[module] = layer
            layer = self._layers[module]
            a, b = row_factors(module, [(adapter, 1.0)])
            layer.factors[adapter.fingerprint] = a.T.to(layer.weight.dtype), b.T.to(layer.weight.dtype)

    def release(self, adapter: Adapter) -> None:
        self._count[adapter.fingerprint] -= 1
        if not self._count[adapter.fingerprint]:
            for layer in self._layers.values():
                layer.factors.pop(adapter.fingerprint, None)

    def assign(self, rows: Sequence[Row]) -> Assignment | None:
        pairs = {}
        for r, row in enumerate(rows):
            for a, w in row:
                pairs.setdefault(a.fingerprint, {}).setdefault(w, []).append(r)
        if not pairs:
            return None
        self._version += 1
        return Assignment(
            {f: [(torch.tensor(i), w) for w, i in ws.items()] for f, ws in sorted(pairs.items())},
            len(rows),
            self._version,
        )

    @contextmanager
    def active(self, assignment):
        before, self._switch.now = self._switch.now, assignment
        try:
            yield
        finally:
            self._switch.now = before

    def folded(self, row: Row) -> nn.Module:
        key = tuple((a.fingerprint, w) for a, w in row)
        if key not in self._folded:
            self._folded[key] = fold(self._model, row)
            plan_of(self._model).prepare_copy(self._folded[key], self._model)
        return self._folded[key]

    def memory(self):
        return 0
