"""Linear layers whose weights lie in the blocks in which the CPU's bfloat16 kernels read them.

From the plain layout every product of a few rows first copies the whole weight into such blocks, which costs
up to as much as the product itself; torch offers the order that oneDNN wants to compiled models only. The
numbers are the same to the last bit (with a bias the sum is rounded once and not twice), and so is the memory:
the blocks take the plain weight's place.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn


class PrepackedLinear(nn.Linear):
    """A linear layer with its weight in blocks; made by `prepack`, for inference only."""

    def forward(self, input: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return product


def prepack(model: nn.Module) -> None:
    """Put the weights of a bfloat16 model on a CPU into blocks; any other model stays as it is.

    A weight that two modules share (the head and the embedding) stays plain. To be called before any layer
    is stacked and not on a model that is trained or compiled.
    """
    if not available():
        return
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for module in model.modules():
        if type(module) is nn.Linear and _fits(module.weight) and owners[id(module.weight)] == 1:
            module.weight = packed(module.weight)
            module.__class__ = PrepackedLinear


def is_prepacked(model: nn.Module) -> bool:
    """Whether some of its weights are in blocks."""
    return any(isinstance(module, PrepackedLinear) for module in model.modules())


def packed(weight: Tensor) -> nn.Parameter:
    """A weight (d_out, d_in) in blocks."""
    with torch.inference_mode(False):  # else no other pass could use it
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return nn.Parameter(blocks, requires_grad=False)


def dense(weight: Tensor) -> Tensor:
    """The same weight in the plain layout: itself, or a copy."""
    return weight.to_dense() if weight.is_mkldnn else weight


def available() -> bool:
    """Whether this processor and this build of torch have the kernels."""
    ops: Any = torch.ops.mkldnn
    try:
        return bool(ops._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # torch was built without oneDNN
        return False


def _fits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and weight.layout == torch.strided
