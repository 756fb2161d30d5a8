"""Linear layers with weights in the blocked layout of oneDNN's CPU kernels.

With a plain weight every product of a few rows first reorders the whole weight into blocks, which takes at
least as long as the product; torch prepacks weights for compiled models only. In bfloat16 results are the
same to the last bit (with a bias the sum is rounded once instead of twice), in float32 the order of summation
differs. The blocks replace the plain weight. A head that shares its weight with the embedding keeps it and
gets a blocked copy; so do small float32 weights, for products with many rows: oneDNN saves a third to a half
of the time of MKL, torch's default.

A blocked weight can only be multiplied and made dense again (`to_dense`): not copied, cast, resized or
trained.

The constants were found on an AMD EPYC with two threads; Intel CPUs were not measured.
`python -m benchmarks.kernels` finds them again.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mpg_cli.models.linear import RepackedLinear

# Size of a weight (elements) from which blocks replace it. Smaller float32 products are fast in torch.
SMALLEST = {torch.bfloat16: 1, torch.float32: 2**18}
WORTH = 2**14  # size of a float32 weight (elements) from which it gets a blocked copy
MANY = 32  # rows from which a product uses that copy


class PrepackedLinear(RepackedLinear):
    """A linear layer with a blocked weight; made by `prepack`, for inference only."""

    def product(self, input: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return product

    def repack(self) -> None:
        self.weight = packed(self.weight)


class CopiedLinear(RepackedLinear):
    """A linear layer with a plain weight, and a blocked copy for products with `many` rows or more."""

    blocks: Tensor  # (d_out, d_in)
    many: int

    def product(self, input: Tensor) -> Tensor:
        if input.numel() < self.many * self.in_features:
            return nn.functional.linear(input, self.weight, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.blocks, self.bias, "none", [], "")
        return product

    def repack(self) -> None:
        if self.many:
            self.register_buffer("blocks", packed(self.weight).data, persistent=False)
        else:  # no product uses the plain weight, which is not shared
            del self.blocks
            self.__class__ = PrepackedLinear  # type: ignore[assignment]
            self.weight = packed(self.weight)


def prepack(model: nn.Module, worth: int = WORTH) -> None:
    """Convert the weights of a model on a CPU to blocks where that is faster, or add a blocked copy.

    Float32 weights of fewer than `worth` elements and stacked layers stay unchanged. Not for a model that is
    trained or compiled.
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
            setattr(module, "many", 0 if large else MANY)  # noqa: B010  # mypy does not know its new class
        found |= large and (alone or module is head)
    if found:
        # The remaining tensors are small, but keep whole files mapped into memory: copy them.
        for tensor in (*model.parameters(), *model.buffers()):
            if not tensor.is_mkldnn:
                tensor.data = tensor.data.clone()


def packed(weight: Tensor) -> nn.Parameter:
    """The blocked form of a weight (d_out, d_in)."""
    with torch.inference_mode(False):  # else only inference mode could use it
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return nn.Parameter(blocks, requires_grad=False)


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether this CPU and this build of torch have the kernels, found by trying them.

    torch has no query for it, and the operators are undocumented: where one is missing (AttributeError) or
    fails (RuntimeError), weights stay plain, which only costs time.
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
    """Whether oneDNN kernels can multiply this weight."""
    here = weight.dtype in SMALLEST and weight.device.type == "cpu" and weight.layout == torch.strided
    return here and available(weight.dtype)
