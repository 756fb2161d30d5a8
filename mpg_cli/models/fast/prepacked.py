"""Linear layers whose weights lie in the blocks in which the CPU's kernels read them.

From the plain layout every product of a few rows first copies the whole weight into such blocks, which costs
as much as the product itself and more; torch offers oneDNN's own order to compiled models only. In bfloat16
the numbers are the same to the last bit (with a bias the sum is rounded once and not twice), in float32 they
are those of another order of summation. The blocks take the plain weight's place; only a head that shares its
weight with the embedding gets a copy.

Such a weight can be multiplied and made dense again, no more: not copied, cast, resized or trained.

Float32 weights too small to gain stay plain, and get a copy in blocks for products with many rows: on an AMD
processor oneDNN takes a third to a half of the time of MKL off, which torch asks otherwise. On Intel's it was
not measured.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

# In float32 a smaller weight is multiplied faster as it is: torch has a shorter way to the plain product.
SMALLEST = {torch.bfloat16: 1, torch.float32: 2**18}
MANY, WORTH = 32, 2**14  # rows and numbers from which oneDNN is faster than the shorter way


class PrepackedLinear(nn.Linear):
    """A linear layer with its weight in blocks; made by `prepack`, for inference only."""

    copied: bool  # whether the plain weight is there as well, as the embedding

    def forward(self, input: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return product


class PlainLinear(nn.Linear):
    """A linear layer in float32 with a plain weight, and a copy in blocks for products with many rows."""

    blocks: Tensor  # (d_out, d_in)

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() < MANY * self.in_features:
            return nn.functional.linear(input, self.weight, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.blocks, self.bias, "none", [], "")
        return product


def prepack(model: nn.Module) -> None:
    """Put the weights of a model on a CPU into blocks where that is faster, or a copy of them.

    Not for a model that is trained or compiled; layers that are stacked stay as they are.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for module in model.modules():
        if type(module) is not nn.Linear or not _multiplied(module.weight):
            continue
        weight, alone = module.weight, owners[id(module.weight)] == 1
        if weight.numel() >= SMALLEST[weight.dtype] and (alone or module is head):
            module.weight = packed(weight)
            module.__class__ = PrepackedLinear
            setattr(module, "copied", not alone)  # noqa: B010  # mypy does not see the class that it has now
        elif weight.dtype == torch.float32 and WORTH <= weight.numel() < SMALLEST[weight.dtype]:
            module.register_buffer("blocks", packed(weight).data, persistent=False)
            module.__class__ = PlainLinear
    if is_prepacked(model):
        # What was left is a small part of the files, and keeps all of them mapped into memory.
        for tensor in (*model.parameters(), *model.buffers()):
            if not tensor.is_mkldnn:
                tensor.data = tensor.data.clone()


def is_prepacked(model: nn.Module) -> bool:
    """Whether some of its weights are in blocks."""
    return any(isinstance(module, PrepackedLinear) for module in model.modules())


def own_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Its parameters; one that two layers share, or shared before it was packed, is there once."""
    of_heads = {id(m.weight) for m in model.modules() if isinstance(m, PrepackedLinear) and m.copied}
    return [parameter for parameter in model.parameters() if id(parameter) not in of_heads]


def copies(model: nn.Module) -> list[Tensor]:
    """The copies in blocks of its plain weights."""
    return [buffer for buffer in model.buffers() if buffer.is_mkldnn]


def packed(weight: Tensor) -> nn.Parameter:
    """A weight (d_out, d_in) in blocks."""
    with torch.inference_mode(False):  # else no other pass could use it
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return nn.Parameter(blocks, requires_grad=False)


def dense(weight: Tensor) -> Tensor:
    """The same weight in the plain layout: itself, or a copy."""
    return weight.to_dense() if weight.is_mkldnn else weight


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether this processor and this build of torch have the kernels, found by trying them.

    torch has no other way to ask, and its operators are not documented: where one is missing (AttributeError)
    or refuses (RuntimeError), weights stay plain, which costs time and nothing else.
    """
    ops: Any = torch.ops.mkldnn
    try:
        if dtype == torch.bfloat16 and not ops._is_mkldnn_bf16_supported():
            return False
        inputs = torch.linspace(-1, 1, 128).view(2, 64).to(dtype)
        weight = torch.linspace(-1, 1, 64 * 64).view(64, 64).to(dtype)
        found = ops._linear_pointwise(inputs, packed(weight), None, "none", [], "")
        return torch.allclose(found, inputs @ weight.T, rtol=0.02, atol=1e-3)
    except (AttributeError, RuntimeError):
        return False


def _multiplied(weight: Tensor) -> bool:
    """Whether oneDNN's kernels multiply such a weight here."""
    here = weight.dtype in SMALLEST and weight.device.type == "cpu" and weight.layout == torch.strided
    return here and available(weight.dtype)
