"""CUDA graphs: a pass whose shape comes again is recorded once and then replayed as a whole.

A pass over few tokens is hundreds of kernels, each of which the processor starts by hand, more slowly than
the GPU runs them. For a recording everything stands still: the tensors that go in, those that come out, and
the cache. So the width that is read is rounded up (the mask hides the rest), and a cache that has moved makes
all recordings worthless.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, int]  # tokens a row, slots read
Pass = Callable[[Tensor, Tensor], Tensor]  # tokens (rows, T), first positions (rows,) -> logits (rows, T, V)

MOST = 48  # recordings of one group of rows; each holds its logits


class Graphs:
    """The recorded passes of one group of rows."""

    def __init__(self) -> None:
        self._recorded: OrderedDict[Shape, _Recording] = OrderedDict()
        self._seen: set[Shape] = set()
        self._version = -1
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._recorded)

    def run(self, do: Pass, tokens: Tensor, start: Tensor, width: int, version: int) -> Tensor:
        """`do(tokens, start)`, from a recording where there is one.

        tokens (rows, T) and start (rows,) lie on the GPU; what is returned is overwritten by the next pass
        of this shape. `version` is that of the cache.
        """
        if version != self._version:
            self._recorded.clear()
            self._version = version
        shape = (tokens.shape[1], width)
        if shape not in self._seen:  # the first one lets the kernels make what they need
            self._seen.add(shape)
            return do(tokens, start)
        recording = self._recorded.get(shape)
        if recording is None:
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            recording = self._recorded[shape] = _Recording(do, tokens, start, self._pool)
            if len(self._recorded) > MOST:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(shape)
        return recording.replay(tokens, start)


class _Recording:
    """One pass, and the tensors that it reads and writes."""

    def __init__(self, do: Pass, tokens: Tensor, start: Tensor, pool: Any) -> None:
        self._tokens, self._start = tokens.clone(), start.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._logits = do(self._tokens, self._start)

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        """The logits (rows, T, V) of another pass of this shape."""
        self._tokens.copy_(tokens)
        self._start.copy_(start)
        self._graph.replay()
        return self._logits
