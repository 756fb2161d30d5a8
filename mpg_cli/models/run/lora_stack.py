"""Adapters of equal ranks in the same layers, stacked for batched products.

Ranks are rounded up and padded with zeros. How far depends on the layer and the adapter alone: another K of a
product can mean another order of its sums, so that the bits of a row would depend on the other adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.linear import linear_shape
from mpg_cli.models.load.adapter import Row, row_pairs

STEP = 8  # smallest rank
# In 16 bits torch leaves products of at most 16³ multiplications to other kernels, which round differently
# (`use_mkldnn_matmul` in aten/src/ATen/native/mkldnn/Matmul.cpp): ranks are such that a single row is beyond.
SMALL = 16**3


def padded_ranks(model: nn.Module, row: Row) -> dict[str, int]:
    """The rank of a row in each layer that it adapts, rounded up by at most a quarter."""
    ranks: dict[str, int] = {}
    for adapter, _ in row:
        for module, pair in adapter.pairs.items():
            ranks[module] = ranks.get(module, 0) + len(pair.a)
    return {module: _padded(rank, *_layer(model, module)) for module, rank in ranks.items()}


def row_bytes(model: nn.Module, ranks: Mapping[str, int]) -> int:
    """Bytes of the factors of a row with these padded ranks."""
    layers = {module: _layer(model, module) for module in ranks}
    return sum(r * sum(layers[module][1]) * layers[module][0].itemsize for module, r in ranks.items())


def _padded(rank: int, weight: Tensor, shape: tuple[int, int]) -> int:
    least = STEP
    if weight.itemsize == 2 and weight.device.type == "cpu":
        least = SMALL // min(shape) + 1
    rank = max(rank, least)
    step = max(STEP, 1 << (rank.bit_length() - 3))
    return -(-rank // step) * step


def _layer(model: nn.Module, module: str) -> tuple[Tensor, tuple[int, int]]:
    """Weight and (d_in, d_out) of a layer."""
    layer = model.get_submodule(module)
    weight, shape = layer.weight, linear_shape(layer)
    assert isinstance(weight, Tensor)
    assert shape is not None
    return weight, shape


class LoraStack:
    """The factors of rows whose adapters have the same layers and padded ranks; each row has an index.

    Indices stay as they are. The tensors move when more indices are needed, or far fewer.
    """

    def __init__(self, model: nn.Module, ranks: Mapping[str, int]) -> None:
        """`ranks` are the padded ranks by layer."""
        self.ranks = ranks
        self._model = model
        # Multiplications of a token of a row in a layer, on average.
        self.work = sum(r * sum(_layer(model, name)[1]) for name, r in ranks.items()) / len(ranks)
        self._taken: set[int] = set()
        self._capacity = 0
        self.moves = 0  # how often the tensors were replaced
        # As stored by PEFT, the fastest layout for `bmm` in bfloat16 on a CPU: (n, r, d_in), (n, d_out, r).
        self._a: dict[str, Tensor] = {}
        self._b: dict[str, Tensor] = {}

    def factors(self, module: str, indices: range) -> tuple[Tensor, Tensor]:
        """A (n, d_in, r) and B (n, r, d_out) of a layer, as views."""
        used = slice(indices.start, indices.stop)
        return self._a[module][used].mT, self._b[module][used].mT

    def insert(self, rows: Sequence[Row]) -> range:
        """Store rows at neighbouring indices, the lowest that are free.

        Raises AdapterError, and stores nothing, where a factor overflows the dtype of a layer.
        """
        start = 0
        while taken := self._taken.intersection(range(start, start + len(rows))):
            start = max(taken) + 1
        indices = range(start, start + len(rows))
        if indices.stop > self._capacity:
            self._resize(max(indices.stop, self._capacity + self._capacity // 2))
        for index, row in zip(indices, rows, strict=True):
            self._write(index, row)
        self._taken.update(indices)
        return indices

    def remove(self, index: int) -> None:
        """Free an index."""
        self._taken.remove(index)
        needed = max(self._taken, default=-1) + 1
        if 0 < 4 * needed <= self._capacity:
            self._resize(needed)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self._taken)

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (*self._a.values(), *self._b.values()))

    def _write(self, index: int, row: Row) -> None:
        sums = []
        for module in self.ranks:
            a, b, at = self._a[module][index], self._b[module][index], 0  # (r, d_in), (d_out, r)
            for pair, factor in row_pairs(module, row):
                end = at + len(pair.a)
                a[at:end] = pair.a
                b[:, at:end] = pair.b.float() * factor
                at = end
            a[at:], b[:, at:] = 0, 0
            sums += [a.sum(dtype=torch.float32), b.sum(dtype=torch.float32)]
        if not bool(torch.stack([total.to(sums[0].device) for total in sums]).isfinite().all()):
            self._check(index, row)

    def _check(self, index: int, row: Row) -> None:
        """Raise AdapterError for the first factor that is not finite."""
        for module in self.ranks:
            a, b = self._a[module][index], self._b[module][index]
            if not bool(a.isfinite().all() & b.isfinite().all()):
                labels = dict.fromkeys(adapter.label for adapter, _ in row if module in adapter.pairs)
                kind = str(a.dtype).removeprefix("torch.")
                raise AdapterError(
                    f"adapter {', '.join(labels)}: {module} exceeds the range of {kind}",
                    hint="choose --dtype bfloat16 or float32",
                )

    def _resize(self, capacity: int) -> None:
        for module, r in self.ranks.items():
            weight, (d_in, d_out) = _layer(self._model, module)
            for stacked, size in ((self._a, (r, d_in)), (self._b, (d_out, r))):
                new = torch.zeros(capacity, *size, dtype=weight.dtype, device=weight.device)
                if module in stacked:
                    kept = min(capacity, self._capacity)
                    new[:kept] = stacked[module][:kept]
                stacked[module] = new
        self._capacity = capacity
        self.moves += 1
