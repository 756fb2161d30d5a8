"""The stacked layer: one `baddbmm` a projection adds a different LoRA to each row of a forward pass.

Rows are expert-major: of R·M sequences the first M belong to row 0, the next M to row 1, and so on. A stack
of K adapters applies to the **last** K rows; the rows before (the reference, prompt-only experts) stay plain:
y[-K:] += (x[-K:] @ A) @ B with A (K, d_in, r), B (K, r, d_out), the scale folded into B and shorter ranks
padded with zeros. x and y are contiguous views: no copies, no index tensors, no hooks.

Independent of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from mpg_cli.errors import AdapterError
from mpg_cli.models.linear import base_layer, linear_shape
from mpg_cli.models.load.adapter import Row, row_factors
from mpg_cli.models.run.fold import fold
from mpg_cli.models.run.plan import plan_of


class _Switch:
    """State shared by all stacked layers of a model: the active stack and the rows of the pass."""

    __slots__ = ("name", "rows", "skipped")

    def __init__(self) -> None:
        self.name: str | None = None
        self.rows = 1
        self.skipped = 0  # rows after those of the pass


class StackedLinear(nn.Module):
    """Replaces a linear layer; adds the LoRA of the active stack to the last rows of its output.

    Its parameters are those of the base layer, under the same names, so state dictionaries, tied weights and
    `get_output_embeddings` work unchanged; the base layer computes its own output.
    """

    def __init__(self, base: nn.Module, switch: _Switch) -> None:
        super().__init__()
        shape = linear_shape(base)
        if shape is None:
            raise RuntimeError(f"internal error: {type(base).__name__} cannot be stacked")
        self.d_in, self.d_out = shape
        for name, parameter in base.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in base.named_buffers(recurse=False):
            self.register_buffer(name, buffer, persistent=False)
        self.training = base.training
        # Not a submodule: its parameters would get a second name.
        object.__setattr__(self, "wrapped_layer", base)
        self.base_forward: Callable[[Tensor], Tensor] = base.forward
        self.switch = switch
        self.stacks: dict[str | None, tuple[int, Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """x (R·M, T, d_in) or (R·M·T, d_in) → y of the same leading shape; R is `switch.rows`."""
        y = self.base_forward(x)
        switch = self.switch
        stack = self.stacks.get(switch.name)
        if stack is None:
            return y
        size, a, b = stack
        rows = switch.rows
        k = min(size - switch.skipped, rows)  # adapted rows of this pass
        if k <= 0:
            return y
        if k < size:
            used = slice(size - switch.skipped - k, size - switch.skipped)
            a, b = a[used], b[used]
        if x.shape[0] % rows:
            raise RuntimeError(f"internal error: {x.shape[0]} sequences cannot be {rows} rows")
        if not y.is_contiguous():
            y = y.contiguous()
        x_rows, y_rows = x, y
        # One sequence needs no view; a compiled pass must work for any number of them.
        if is_compiling() or x.dim() != 3 or x.shape[0] != rows:
            x_rows = x.reshape(rows, -1, self.d_in)  # (R, M·T, d_in)
            y_rows = y.view(rows, -1, self.d_out)  # (R, M·T, d_out)
        if k < rows:
            x_rows, y_rows = x_rows.narrow(0, rows - k, k), y_rows.narrow(0, rows - k, k)
        y_rows.baddbmm_(torch.bmm(x_rows, a), b)  # (K, M·T, r) → (K, M·T, d_out)
        return y

    def extra_repr(self) -> str:
        names = ", ".join(map(str, self.stacks))
        return f"{type(base_layer(self)).__name__}, {self.d_in} → {self.d_out}, stacks: {names}"


class LoraBank:
    """The named stacks of a model. A layer is replaced in place when a stack first adapts it.

    Create it once the model is on its device and in its dtype: stacks use those of each layer.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._switch = _Switch()
        self._sizes: dict[str, int] = {}
        self._layers: dict[str, StackedLinear] = {}
        self._folded: WeakValueDictionary[tuple[tuple[str, float], ...], nn.Module] = WeakValueDictionary()

    @classmethod
    def of(cls, model: nn.Module) -> LoraBank:
        """The bank of a model, created at the first call."""
        bank: LoraBank | None = getattr(model, "_mpg_bank", None)
        if bank is None:
            bank = cls(model)
            object.__setattr__(model, "_mpg_bank", bank)
        return bank

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stacks."""
        return tuple(self._sizes)

    def size(self, name: str) -> int:
        """K, the number of rows of the stack."""
        return self._sizes[name]

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """Build the stack `name` of K = len(rows) rows, each a list of (adapter, weight) whose ΔW add up.

        An expert is the row [(a, 1.0)]. The merged drafter is one row [(a1, w1), (a2, w2), …]: the exact sum
        of the weighted ΔW, with the A's and the weighted, scaled B's concatenated. Rows may be empty.
        The adapters must have passed `fit_adapter`. Raises AdapterError where a factor overflows the dtype.
        """
        if name in self._sizes:
            raise RuntimeError(f"internal error: stack {name!r} exists already")
        if not rows:
            raise RuntimeError(f"internal error: stack {name!r} has no rows")
        targets = dict.fromkeys(module for row in rows for adapter, _ in row for module in adapter.pairs)
        built = {module: _stack(module, rows, self._weight(module)) for module in targets}
        for module, (a, b) in built.items():
            self._layer(module).stacks[name] = (len(rows), a, b)
        self._sizes[name] = len(rows)

    def remove(self, name: str) -> None:
        """Remove a stack and free its memory."""
        del self._sizes[name]
        for layer in self._layers.values():
            layer.stacks.pop(name, None)

    def folded(self, row: Row) -> nn.Module:
        """A copy of the model with the weighted adapters added to its weights; cached by row."""
        key = tuple((adapter.fingerprint, weight) for adapter, weight in row)
        model = self._folded.get(key)
        if model is None:
            model = self._folded[key] = fold(self._model, row)
            plan_of(self._model).prepare_copy(model, self._model)
        return model

    @contextmanager
    def active(self, name: str | None, rows: int = 1, run: range | None = None) -> Iterator[None]:
        """Context of passes over `rows` expert-major rows, the last K of them adapted by stack `name`.

        None: every row is the plain base. `run` restricts the passes to these of the rows. Nests; the former
        state is restored on exit.
        """
        if name is not None:
            size = self._sizes.get(name)
            if size is None:
                raise RuntimeError(f"internal error: no stack {name!r}")
            if size > rows:
                raise RuntimeError(f"internal error: {size} adapters for {rows} rows")
        run = range(rows) if run is None else run
        switch = self._switch
        before = switch.name, switch.rows, switch.skipped
        switch.name, switch.rows, switch.skipped = name, len(run), rows - run.stop
        try:
            yield
        finally:
            switch.name, switch.rows, switch.skipped = before

    def memory(self) -> int:
        """Bytes of all stacks."""
        stacks = (stack for layer in self._layers.values() for stack in layer.stacks.values())
        return sum(tensor.numel() * tensor.element_size() for _, a, b in stacks for tensor in (a, b))

    def detach(self) -> None:
        """Restore the original layers of the model and drop all stacks."""
        for module, layer in self._layers.items():
            self._replace(module, base_layer(layer))
        self._layers.clear()
        self._sizes.clear()

    def _weight(self, module: str) -> Tensor:
        weight = self._model.get_submodule(module).weight
        assert isinstance(weight, Tensor)
        return weight

    def _layer(self, module: str) -> StackedLinear:
        layer = self._layers.get(module)
        if layer is None:
            layer = StackedLinear(self._model.get_submodule(module), self._switch)
            self._replace(module, layer)
            self._layers[module] = layer
        return layer

    def _replace(self, module: str, new: nn.Module) -> None:
        parent, _, child = module.rpartition(".")
        setattr(self._model.get_submodule(parent), child, new)


def _stack(module: str, rows: Sequence[Row], weight: Tensor) -> tuple[Tensor, Tensor]:
    """A (K, d_in, r) and B (K, r, d_out) of one module, on the weight's device and in its dtype."""
    factors = [row_factors(module, row) for row in rows]
    r = max(a.shape[0] for a, _ in factors)
    d_in, d_out = next((a.shape[1], b.shape[0]) for a, b in factors if a.numel())
    stack_a = torch.zeros(len(rows), r, d_in)  # (K, r, d_in)
    stack_b = torch.zeros(len(rows), d_out, r)  # (K, d_out, r)
    for k, (a, b) in enumerate(factors):
        if a.numel():
            stack_a[k, : a.shape[0]] = a
            stack_b[k, :, : b.shape[1]] = b
    stack_a, stack_b = (stack.to(weight.device, weight.dtype) for stack in (stack_a, stack_b))
    if not bool(stack_a.isfinite().all() & stack_b.isfinite().all()):
        labels = dict.fromkeys(adapter.label for row in rows for adapter, _ in row if module in adapter.pairs)
        kind = str(weight.dtype).removeprefix("torch.")
        raise AdapterError(
            f"adapter {', '.join(labels)}: {module} exceeds the range of {kind}",
            hint="choose --dtype bfloat16 or float32",
        )
    # Stored like PEFT's, as transposed views: the fastest layout for `bmm` in bfloat16 on a CPU.
    return stack_a.mT, stack_b.mT  # (K, d_in, r), (K, r, d_out)
