"""Which modules of a model are linear layers that a LoRA can be added to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mpg_cli.models.fast.prepacked import PlainLinear, PrepackedLinear

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def plain(module: nn.Module) -> nn.Module:
    """The module itself, or the one that a stacked layer stands in for."""
    base = getattr(module, "stands_for", module)
    return base if isinstance(base, nn.Module) else module


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_in, d_out) of a layer that computes x @ W + bias row by row, None for any other module.

    Subclasses of nn.Linear may compute something else (routers, block-diagonal, quantised layers), hence the
    exact types: nn.Linear, transformers' Conv1D and FalconLinear.
    """
    module = plain(module)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.dtype not in FLOATS:
        return None
    if type(module) in (nn.Linear, PlainLinear, PrepackedLinear) or type(module).__name__ == "FalconLinear":
        return weight.shape[1], weight.shape[0]
    if is_conv1d(module):
        return weight.shape[0], weight.shape[1]
    return None


def is_conv1d(module: nn.Module) -> bool:
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")
