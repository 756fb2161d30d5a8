"""Linear layers whose weights lie in the blocks in which the CPU's kernels read them.

From the plain layout every product of a few rows first copies the whole weight into such blocks, which costs
as much as the product itself and more; torch offers oneDNN's own order to compiled models only. In bfloat16
the numbers are the same to the last bit (with a bias the sum is rounded once and not twice), in float32 they
are those of another order of summation. The blocks take the place of the plain weight. A head that shares its
weight with the embedding keeps it and gets a copy in blocks; so do small float32 weights, for products with
many rows: oneDNN takes a third to a half of the time of MKL off, which torch asks otherwise.

A weight in blocks can be multiplied and made dense again (`to_dense`), no more: not copied, cast, resized or
trained.

The constants were found on an AMD EPYC with two threads; on Intel's processors they were not measured.
`python -m benchmarks.kernels` finds them again.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mpg_cli.models.linear import RepackedLinear

# Numbers of a weight from which blocks replace it. In float32 torch has a shorter way to smaller products.
SMALLEST = {torch.bfloat16: 1, torch.float32: 2**18}
WORTH = 2**14  # numbers of a float32 weight from which it gets a copy in blocks
MANY = 32  # rows from which a product takes that copy


class PrepackedLinear(RepackedLinear):
    """A linear layer with its weight in blocks; made by `prepack`, for inference only."""

    def forward(self, input: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return product

    def repack(self) -> None:
        self.weight = packed(self.weight)


class CopiedLinear(RepackedLinear):
    """A linear layer with a plain weight, and a copy in blocks for products with `many` rows or more."""

    blocks: Tensor  # (d_out, d_in)
    many: int

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() < self.many * self.in_features:
            return nn.functional.linear(input, self.weight, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.blocks, self.bias, "none", [], "")
        return product

    def repack(self) -> None:
        if self.many:
            self.register_buffer("blocks", packed(self.weight).data, persistent=False)
        else:  # no product reads the plain weight, and this one is shared with nothing
            del self.blocks
            self.__class__ = PrepackedLinear  # type: ignore[assignment]
            self.weight = packed(self.weight)


def prepack(model: nn.Module, worth: int = WORTH) -> None:
    """Put the weights of a model on a CPU into blocks where that is faster, or a copy of them.

    A float32 weight of fewer than `worth` numbers stays as it is. Not for a model that is trained or
    compiled; layers that are stacked stay as they are.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    found = False
    for module in model.modules():
        if type(module) is not nn.Linear or not _multiplied(module.weight):
            continue
        weight = module.weight
        large, alone = weight.numel() >= SMALLEST[weight.dtype], owners[id(weight)] == 1
        if large and alone:
            module.weight = packed(weight)
            module.__class__ = PrepackedLinear
        elif (large and module is head) or (not large and weight.numel() >= worth):
            module.register_buffer("blocks", packed(weight).data, persistent=False)
            module.__class__ = CopiedLinear
            setattr(module, "many", 0 if large else MANY)  # noqa: B010  # mypy does not see its new class
        found |= large and (alone or module is head)
    if found:
        # What was left is a small part of the files, and keeps all of them mapped into memory.
        for tensor in (*model.parameters(), *model.buffers()):
            if not tensor.is_mkldnn:
                tensor.data = tensor.data.clone()


def packed(weight: Tensor) -> nn.Parameter:
    """A weight (d_out, d_in) in blocks."""
    with torch.inference_mode(False):  # else no other pass could use it
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return nn.Parameter(blocks, requires_grad=False)


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
