"""A KV cache that stores each token at its position in the sequence.

Every sequence writes at its own length. So a rollback only lowers a number, sequences of different lengths
share a pass, and nothing is padded or copied: a query at position p attends to the positions 0..p, and stale
entries after them are masked. Sliding windows are masks as well, which keeps rollback exact (transformers'
sliding layers drop entries outside the window). Replaces `transformers.DynamicCache`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from mpg_cli.sampling.scorer import to_device

_VERSIONS = count()


@dataclass
class Span:
    """Positions that the current pass writes and reads; shared by all layers.

    `start` is the first position that each physical row writes, an int where all are equal (then writing is
    a slice, else a scatter). `rows` are the physical rows that take part (None: all).
    """

    total: int  # physical rows in the cache
    start: int | Tensor = 0  # int, or (rows,) long
    count: int = 0  # tokens a row in this pass
    width: int = 0  # positions read: max(start) + count or more
    rows: Tensor | None = None
    version: int = field(default_factory=lambda: next(_VERSIONS))  # changes with the storage
    _flat: tuple[tuple[int, int], Tensor] | None = field(default=None, init=False)

    def begin(self, start: int | Tensor) -> None:
        """Set the first position of each row for the next pass."""
        self.start, self._flat = start, None

    def targets(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Physical rows (rows, 1) and positions (rows, count) to write, for a tensor `start`."""
        assert isinstance(self.start, Tensor)
        row = torch.arange(self.total, device=device) if self.rows is None else self.rows
        return row[:, None], self.start[:, None] + torch.arange(self.count, device=device)

    def flat(self, heads: int, capacity: int, device: torch.device) -> Tensor:
        """The same as flat indices of vectors in a layer, (rows * count * heads,), computed once a pass."""
        if self._flat is None or self._flat[0] != (heads, capacity):
            row, position = self.targets(device)  # (rows, 1), (rows, count)
            head = row[..., None] * heads + torch.arange(heads, device=device)  # (rows, 1, heads)
            index = head * capacity + position[..., None]  # (rows, count, heads)
            self._flat = (heads, capacity), index.flatten()
        return self._flat[1]

    def moved(self) -> None:
        """Record that the storage of keys or values has changed."""
        self.version = next(_VERSIONS)


def _selected(store: Tensor, rows: Tensor) -> Tensor:
    """The rows (n,) of a tensor; zeros for -1."""
    index, new = to_device(rows, store.device), rows < 0
    if not bool(new.any()):
        return store[index]
    found = store.new_zeros(len(rows), *store.shape[1:])
    old = to_device((~new).nonzero().flatten(), store.device)
    found[old] = store[index[old]]
    return found


def _capacity(width: int) -> int:
    """Positions to allocate for `width`, with room to grow: growing copies everything."""
    return max(width + 128, width * 3 // 2)


class PositionLayer(CacheLayerMixin):
    """Keys and values of one layer, (total rows, heads, capacity, head size), grown as needed."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._grown(None, key_states, self.span.width)
        self.values = self._grown(None, value_states, self.span.width)
        self.is_initialized = True

    def _grown(self, old: Tensor | None, like: Tensor, width: int) -> Tensor:
        """Storage for at least `width` positions, filled with `old`; zeroed, as a masked NaN would spread."""
        new = like.new_zeros(self.span.total, like.shape[1], _capacity(width), like.shape[3])
        self.span.moved()
        if old is not None:
            new[:, :, : old.shape[2]] = old
        return new

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write (rows, heads, count, head size) at the rows' positions; read their positions 0..width."""
        self.reserve(key_states, value_states, self.span.width)
        assert self.keys is not None
        assert self.values is not None
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def reserve(self, keys: Tensor, values: Tensor, width: int) -> None:
        """Allocate `width` positions for keys and values like these."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None
        if self.keys.shape[2] < width:
            self.keys = self._grown(self.keys, keys, width)
            self.values = self._grown(self.values, values, width)

    def _write(self, store: Tensor, new: Tensor) -> Tensor:
        s = self.span
        if isinstance(s.start, int):
            if s.rows is None:
                store[:, :, s.start : s.start + s.count] = new
                return store[:, :, : s.width]
            store[s.rows, :, s.start : s.start + s.count] = new
        else:
            vectors = new.transpose(1, 2).reshape(-1, new.shape[3])  # (rows * count * heads, head size)
            index = s.flat(store.shape[1], store.shape[2], new.device)
            store.view(-1, new.shape[3]).index_copy_(0, index, vectors)
        return store[:, :, : s.width] if s.rows is None else store[s.rows, :, : s.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.span.width, 0

    def get_seq_length(self) -> int:
        return self.span.width - self.span.count

    def get_max_length(self) -> int:
        return -1


class PositionCache(Cache):
    """The layers of one model over `total` physical rows, and the token at each position.

    The owner tracks the valid length of each row; positions beyond it are stale.
    """

    def __init__(self, layers: int, total: int) -> None:
        self.span = Span(total)
        self.tokens = torch.zeros(total, 0, dtype=torch.long)  # (total rows, capacity)
        super().__init__(layers=[PositionLayer(self.span) for _ in range(layers)])

    @torch.inference_mode()
    def note(self, tokens: Tensor) -> None:
        """Record the tokens (rows, T) of the last pass, on their device."""
        s = self.span
        self._widen(s.width, tokens.device)
        if isinstance(s.start, int):
            self.tokens[slice(None) if s.rows is None else s.rows, s.start : s.start + s.count] = tokens
        else:
            self.tokens[s.targets(tokens.device)] = tokens

    def _widen(self, width: int, device: torch.device) -> None:
        """Allocate tokens for `width` positions, on this device."""
        self.tokens = self.tokens.to(device)
        if self.tokens.shape[1] < width:
            self.tokens = torch.nn.functional.pad(self.tokens, (0, _capacity(width) - self.tokens.shape[1]))

    def holds(self, width: int) -> bool:
        """Whether `width` positions are allocated."""
        first = self.layers[0]
        return first.keys is not None and first.keys.shape[2] >= width

    def common(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Length (n, R) of the prefix of the tokens (n, T) that each of the physical rows (R,) has."""
        width = min(tokens.shape[1], self.tokens.shape[1])
        own = self.tokens[to_device(rows, self.tokens.device), :width]  # (R, width)
        same = own == to_device(tokens[:, None, :width], own.device)  # (n, R, width)
        return same.to(torch.uint8).cumprod(2, dtype=torch.uint8).sum(2).cpu()

    @torch.inference_mode()
    def copy_rows(
        self, source: Tensor, target: Tensor, begin: int, end: int, other: PositionCache | None = None
    ) -> None:
        """Copy the positions begin..end of the physical rows `source` (n,) to the rows `target` (n,).

        `other` is the cache of the same model that `source` belongs to (None: this one).
        """
        other = other or self
        if end <= begin:
            return
        device = other.tokens.device
        source, target = to_device(source, device), to_device(target, device)
        for layer, old in zip(self.layers, other.layers, strict=True):
            if old.keys is not None and old.values is not None:
                layer.reserve(old.keys, old.values, end)
                layer.keys[target, :, begin:end] = old.keys[source, :, begin:end]
                layer.values[target, :, begin:end] = old.values[source, :, begin:end]
        self._widen(end, device)
        self.tokens[target, begin:end] = other.tokens[source, begin:end]

    @torch.inference_mode()
    def take_rows(self, other: PositionCache, source: Tensor, target: Tensor) -> None:
        """Initialise the rows `target` with the rows `source` (n,) of another cache of the model."""
        for layer, old in zip(self.layers, other.layers, strict=True):
            if old.keys is None or old.values is None:
                continue
            for name in ("keys", "values"):
                store = getattr(old, name)
                new = store.new_zeros(self.span.total, *store.shape[1:])
                new[target.to(store.device)] = store[source.to(store.device)]
                setattr(layer, name, new)
            layer.is_initialized = True
        self.span.moved()
        self.tokens = other.tokens.new_zeros(self.span.total, other.tokens.shape[1])
        self.tokens[target] = other.tokens[source]

    @torch.inference_mode()
    def select_rows(self, rows: Tensor) -> None:
        """Keep the physical rows (n,), in this order; -1 adds an empty one."""
        self.span.total = len(rows)
        self.tokens = _selected(self.tokens, rows)
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = _selected(layer.keys, rows), _selected(layer.values, rows)
        self.span.moved()

    @torch.inference_mode()
    def clear_rows(self, rows: Tensor) -> None:
        """Set the physical rows (n,) to zero: a masked NaN would spread."""
        for store in self._stores():
            store[to_device(rows, store.device)] = 0

    def nbytes(self) -> int:
        """Bytes held by keys and values."""
        return sum(t.numel() * t.element_size() for t in self._stores())

    def position_bytes(self) -> int:
        """Bytes of one position of one physical row, over all layers that a pass has written."""
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in self._stores())

    def _stores(self) -> list[Tensor]:
        return [t for layer in self.layers for t in (layer.keys, layer.values) if t is not None]
