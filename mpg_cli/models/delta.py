"""The weighted sum of several adapters' ΔW of one module, as two factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.adapter import Adapter, LoraPair

Row: TypeAlias = Sequence[tuple[Adapter, float]]  # what one row of a pass adds: adapters and their weights


def row_factors(module: str, row: Row) -> tuple[Tensor, Tensor]:
    """Factors of the row's Σ w·s·B·A in float32: a (r, d_in), b (d_out, r); both (0, 0) for a plain row."""
    pairs: list[tuple[LoraPair, float]] = [
        (adapter.pairs[module], weight) for adapter, weight in row if module in adapter.pairs
    ]
    if not pairs:
        return torch.empty(0, 0), torch.empty(0, 0)
    a = torch.cat([pair.a.float() for pair, _ in pairs])  # (Σr, d_in)
    b = torch.cat([pair.b.float() * (pair.scale * weight) for pair, weight in pairs], dim=1)  # (d_out, Σr)
    return a, b
