"""Linear layers: which modules a LoRA can be added to, their shape, and a copy with another weight."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class RepackedLinear(nn.Linear):
    """A linear layer equal to nn.Linear, with its weight in another layout."""

    def repack(self) -> None:
        """Convert the weight from the plain layout to that of the layer."""
        raise NotImplementedError


def base_layer(module: nn.Module) -> nn.Module:
    """The module itself, or the base layer of a stacked one."""
    base = getattr(module, "wrapped_layer", module)
    return base if isinstance(base, nn.Module) else module


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_in, d_out) of a layer that computes x @ W + bias, None for any other module.

    Subclasses of nn.Linear may compute something else (routers, block-diagonal, quantised layers), hence the
    exact types: nn.Linear, this project's repacked ones, transformers' Conv1D and FalconLinear.
    """
    module = base_layer(module)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.dtype not in FLOATS:
        return None
    if type(module) is nn.Linear or isinstance(module, RepackedLinear):
        return weight.shape[1], weight.shape[0]
    if type(module).__name__ == "FalconLinear":
        return weight.shape[1], weight.shape[0]
    if is_conv1d(module):
        return weight.shape[0], weight.shape[1]
    return None


def is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' Conv1D, whose weight is (d_in, d_out)."""
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")


def with_weight(layer: nn.Module, weight: Tensor) -> nn.Module:
    """A layer of the same kind with this weight, plain and of the same shape; all else is shared."""
    other = copy.copy(layer)
    other._parameters = dict(layer._parameters)
    other._buffers = dict(layer._buffers)
    other._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    if isinstance(other, RepackedLinear):
        other.repack()
    return other
