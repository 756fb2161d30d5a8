"""Linear layers: which modules a LoRA can be added to, their shape, and a copy with another weight."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class RepackedLinear(nn.Linear):
    """A linear layer equal to nn.Linear, with its weight in another layout, or with padded products."""

    least = 1  # rows of a product; fewer are padded, where a library sums those in another order

    def forward(self, input: Tensor) -> Tensor:
        rows = input.numel() // self.in_features
        if rows >= self.least:
            return self.product(input)
        padding = (0, 0, 0, self.least - rows)
        padded = nn.functional.pad(input.reshape(rows, self.in_features), padding)  # (least, d_in)
        return self.product(padded)[:rows].view(*input.shape[:-1], self.out_features)

    def product(self, input: Tensor) -> Tensor:
        """input (..., d_in) -> (..., d_out)."""
        raise NotImplementedError

    def repack(self) -> None:
        """Convert the weight from the plain layout to that of the layer."""
        raise NotImplementedError


class PlainLinear(RepackedLinear):
    """One whose weight keeps the plain layout."""

    def product(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight, self.bias)

    def repack(self) -> None:
        pass


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
