"""CUDA graphs: a pass of a repeated shape is recorded once and then replayed as a whole.

A pass over few tokens has hundreds of kernels, which the CPU launches more slowly than the GPU runs them. A
recording fixes the addresses of its inputs, outputs and cache. So the width that is read is rounded up (the
mask hides the rest), and new storage for the cache invalidates all recordings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.run.plan import Pass

Shape = tuple[int, int, int]  # rows, tokens a row, positions read

ROOM = 2**29  # bytes of logits in the recordings of one group of rows, a small part of GPU memory


class Recorded(Protocol):
    """One recorded pass."""

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        """The logits (rows, T, V) of another pass of this shape; the next replay overwrites them."""
        ...


# The pass, its tokens (rows, T), first positions (rows,) and a memory pool -> its recording.
Record: TypeAlias = Callable[[Pass, Tensor, Tensor, Any], Recorded]


class Graphs:
    """The recorded passes of one group of rows."""

    def __init__(self, room: int = ROOM, record: Record | None = None) -> None:
        """`room` limits the bytes of logits in all recordings, `record` makes a recording."""
        self._room, self._record_pass = room, record or Recording
        self._recorded: OrderedDict[Shape, Recorded] = OrderedDict()
        self._sizes: dict[Shape, int] = {}  # bytes of logits by shape, of shapes seen before
        self._version: Hashable = None
        self._pool: Any = None
        self._fails = False

    def __len__(self) -> int:
        return len(self._recorded)

    def run(self, do: Pass, tokens: Tensor, start: Tensor, width: int, version: Hashable) -> Tensor:
        """`do(tokens, start)`, replayed if it is recorded.

        tokens (rows, T) and start (rows,) are on the GPU; the next pass of the group overwrites the result.
        `version` is that of the cache and of the adapters.
        """
        if version != self._version:
            self._forget()
            self._version = version
        shape = (*tokens.shape, width)
        if shape not in self._sizes:  # a first, plain pass: kernels allocate, and the size is known
            logits = do(tokens, start)
            self._sizes[shape] = logits.nbytes
            return logits
        if shape not in self._recorded and not self._record(shape, do, tokens, start):
            return do(tokens, start)
        self._recorded.move_to_end(shape)
        return self._recorded[shape].replay(tokens, start)

    def _record(self, shape: Shape, do: Pass, tokens: Tensor, start: Tensor) -> bool:
        """Make a recording, dropping the oldest ones for it; after a failure always False."""
        if self._fails or self._sizes[shape] > self._room:
            return False
        while self._recorded and sum(self._sizes[s] for s in (*self._recorded, shape)) > self._room:
            self._recorded.popitem(last=False)
        if self._pool is None or not self._recorded:  # torch frees a pool without recordings
            self._pool = torch.cuda.graph_pool_handle()
        try:
            self._recorded[shape] = self._record_pass(do, tokens, start, self._pool)
        except Exception:  # out of memory, or not recordable; the plain pass that follows reports its own
            self._fails = True
            self._forget()
        return not self._fails

    def _forget(self) -> None:
        self._recorded.clear()
        self._pool = None


class Recording:
    """One recorded pass with its input and output tensors."""

    def __init__(self, do: Pass, tokens: Tensor, start: Tensor, pool: Any) -> None:
        self._tokens, self._start = tokens.clone(), start.clone()
        self._graph, self._logits = capture(lambda: do(self._tokens, self._start), tokens.device, pool)

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        """The logits (rows, T, V) of another pass of this shape."""
        self._tokens.copy_(tokens)
        self._start.copy_(start)
        with torch.cuda.device(tokens.device):
            self._graph.replay()
        return self._logits


def capture(run: Callable[[], Tensor], device: torch.device, pool: Any = None) -> tuple[Any, Tensor]:
    """Record `run` on a device: the graph, and the tensor that it writes."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):  # a stream belongs to a device; on another one nothing is recorded
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                found = run()
        finally:
            torch.cuda.set_stream(before)  # torch does not restore it after a failure
    return graph, found
