"""The adapted layer: each row of a forward pass gets the LoRA that the pass has for it.

For each segment of the assignment y += (x @ A) @ B, two batched products with A (n, d_in, r), B (n, r, d_out)
and the scale folded into B. With a single blend x and y are views, otherwise the rows are gathered and put
back. Both run the same products over the numbers of a row, so that in 16 bits on a CPU it gets the same bits.

Independent of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from mpg_cli.models.linear import base_layer, linear_shape
from mpg_cli.models.run.assignment import Assignment


class Active:
    """What all adapted layers of a model share: the assignment of the pass that runs."""

    __slots__ = ("assignment",)

    def __init__(self) -> None:
        self.assignment: Assignment | None = None


class AdaptedLinear(nn.Module):
    """Replaces a linear layer; adds the LoRA of each row to its output.

    Its parameters are those of the base layer, under the same names, so state dictionaries, tied weights and
    `get_output_embeddings` work unchanged; the base layer computes its own output.
    """

    def __init__(self, base: nn.Module, name: str, active: Active) -> None:
        super().__init__()
        shape = linear_shape(base)
        if shape is None:
            raise RuntimeError(f"internal error: {type(base).__name__} cannot be adapted")
        self.d_in, self.d_out = shape
        for of_parameter, parameter in base.named_parameters(recurse=False):
            self.register_parameter(of_parameter, parameter)
        for of_buffer, buffer in base.named_buffers(recurse=False):
            self.register_buffer(of_buffer, buffer, persistent=False)
        self.training = base.training
        # Not a submodule: its parameters would get a second name.
        object.__setattr__(self, "wrapped_layer", base)
        self.base_forward: Callable[[Tensor], Tensor] = base.forward
        self.name, self.active = name, active
        self.number = next(_numbers)
        _layers[self.number] = self

    def forward(self, x: Tensor) -> Tensor:
        """x (P, T, d_in) or (P·T, d_in) → y of the same leading shape; P rows as in the assignment."""
        y = self.base_forward(x)
        if is_compiling():
            y = y.contiguous()
            torch.ops.mpg.add_lora(x, y, self.number)
            return y
        assignment = self.active.assignment
        return y if assignment is None else self.add(x, y, assignment)

    def add(self, x: Tensor, y: Tensor, assignment: Assignment) -> Tensor:
        """y with the LoRA of each row added; may write into y."""
        segments = assignment.factors.get(self.name)
        if segments is None:
            segments = assignment.factors_of(self.name)
        if not segments:
            return y
        P, shape = assignment.rows, x.shape
        regular = len(shape) == 3 and shape[0] == P
        if not regular:
            if shape[0] % P:
                raise RuntimeError(f"internal error: {shape[0]} sequences cannot be {P} rows")
            x, y = x.reshape(P, -1, self.d_in), y.reshape(P, -1, self.d_out)
        elif not y.is_contiguous():
            y = y.contiguous()
        gathered = assignment.gathered
        if gathered is not None:
            x, y = x.index_select(0, gathered.taken), y.index_select(0, gathered.order)
        for a, b, first, n, length in segments:
            x_part, y_part = x, y
            if n * length != P or gathered is not None:
                x_part, y_part = x.narrow(0, first, n * length), y.narrow(0, first, n * length)
            if length > 1:  # (n·L, T, d) → (n, L·T, d)
                x_part, y_part = x_part.reshape(n, -1, self.d_in), y_part.view(n, -1, self.d_out)
            y_part.baddbmm_(torch.bmm(x_part, a), b)  # (n, L·T, r) → (n, L·T, d_out)
        if gathered is not None:
            y = y.index_select(0, gathered.back)
        return y if regular else y.view(*shape[:-1], self.d_out)

    def extra_repr(self) -> str:
        return f"{type(base_layer(self)).__name__}, {self.d_in} → {self.d_out}"


_numbers = count()
_layers: WeakValueDictionary[int, AdaptedLinear] = WeakValueDictionary()


def _add_lora(x: Tensor, y: Tensor, number: int) -> None:
    """`AdaptedLinear.add` in place, for compiled passes.

    To torch.compile it is one operator: it does not look at the assignment, whose shapes differ from pass to
    pass, and compiles a model once for all of them.
    """
    layer = _layers[number]
    assignment = layer.active.assignment
    if assignment is not None:
        found = layer.add(x, y, assignment)
        if found.data_ptr() != y.data_ptr():
            y.copy_(found)


_library: Any = torch.library.Library("mpg", "DEF")  # type: ignore[no-untyped-call]
_library.define("add_lora(Tensor x, Tensor(a!) y, int number) -> ()")
_library.impl("add_lora", _add_lora, "CompositeExplicitAutograd")
torch.library.register_fake("mpg::add_lora", lambda x, y, number: None, lib=_library)
