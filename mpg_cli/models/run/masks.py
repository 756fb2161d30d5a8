"""Attention masks, full and sliding-window, and the context length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import ModelError


def context_length(config: Any) -> int | None:
    """Positions for prompt and reply together; None where the configuration has no limit.

    Long RoPE has one set of factors up to the original length and another beyond it, which transformers
    chooses for a whole pass by its longest row. Limiting rows to the original length keeps them independent.
    """
    limit: int | None = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        original = part.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        if part.get("rope_type") == "longrope" and original:
            limit = min(limit or original, original)
    return limit


class Masks:
    """Additive attention masks from positions, for full and sliding-window layers."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.window: int | None = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds:
            kinds = {"sliding_attention" if self.window else "full_attention"}
        unknown = kinds - {"full_attention", "sliding_attention"}
        if unknown:
            raise ModelError(
                f"the state of {', '.join(sorted(unknown))} layers cannot be rolled back exactly",
                hint="choose a model whose layers all use full or sliding-window attention",
            )
        self.kinds = sorted(kinds)
        self.limit = context_length(config)
        self.device = device
        self.allowed = torch.zeros((), dtype=dtype, device=device)
        self.blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)

    def clamp(self, positions: Tensor) -> Tensor:
        """Clamp positions to the context: padding may exceed it, and is never read."""
        return positions if self.limit is None else positions.clamp(max=self.limit - 1)

    def build(self, positions: Tensor, width: int) -> Tensor | dict[str, Tensor]:
        """positions (rows, T) of the queries -> (rows, 1, T, width); mixed models: a dict by layer type."""
        key = torch.arange(width, device=self.device)
        seen = key <= positions[:, None, :, None]  # (rows, 1, T, width)
        masks = {}
        for kind in self.kinds:
            visible = seen
            if kind == "sliding_attention" and self.window:
                visible = seen & (key > positions[:, None, :, None] - self.window)
            masks[kind] = torch.where(visible, self.allowed, self.blocked)
        return masks if len(masks) > 1 else masks[self.kinds[0]]
