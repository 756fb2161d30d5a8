"""CUDA graphs: a pass whose shape comes again is recorded once and then replayed as a whole.

A pass over few tokens is hundreds of kernels, which the processor starts one by one, more slowly than the GPU
runs them. A recording fixes the addresses of its inputs, its outputs and the cache. So the width that is read
is rounded up (the mask hides the rest), and new storage for the cache makes all recordings invalid.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.run.plan import Pass

Shape = tuple[int, int, int]  # rows, tokens a row, positions read

ROOM = 2**29  # bytes of logits that the recordings of one group of rows hold; little of a GPU's memory


class Recorded(Protocol):
    """One recorded pass."""

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        """The logits (rows, T, V) of another pass of this shape; the next one overwrites them."""
        ...


# The pass, its tokens (rows, T), first positions (rows,) and a memory pool -> its recording.
Record: TypeAlias = Callable[[Pass, Tensor, Tensor, Any], Recorded]


class Graphs:
    """The recorded passes of one group of rows."""

    def __init__(self, room: int = ROOM, record: Record | None = None) -> None:
        """`room` is how many bytes of logits the recordings may hold together, `record` makes one."""
        self._room, self._record_pass = room, record or Recording
        self._recorded: OrderedDict[Shape, Recorded] = OrderedDict()
        self._sizes: dict[Shape, int] = {}  # bytes of logits, of shapes that have come once
        self._version = -1
        self._pool: Any = None
        self._fails = False

    def __len__(self) -> int:
        return len(self._recorded)

    def run(self, do: Pass, tokens: Tensor, start: Tensor, width: int, version: int) -> Tensor:
        """`do(tokens, start)`, from a recording where there is one.

        tokens (rows, T) and start (rows,) lie on the GPU; what is returned is overwritten by the next pass of
        the group. `version` is that of the cache.
        """
        if version != self._version:
            self._forget()
            self._version = version
        shape = (*tokens.shape, width)
        if shape not in self._sizes:  # in the first pass kernels allocate what they need; it has the size
            logits = do(tokens, start)
            self._sizes[shape] = logits.nbytes
            return logits
        if shape not in self._recorded and not self._record(shape, do, tokens, start):
            return do(tokens, start)
        self._recorded.move_to_end(shape)
        return self._recorded[shape].replay(tokens, start)

    def _record(self, shape: Shape, do: Pass, tokens: Tensor, start: Tensor) -> bool:
        """Make a recording and drop the oldest for it; False where that fails, which is not tried again."""
        if self._fails or self._sizes[shape] > self._room:
            return False
        while self._recorded and sum(self._sizes[s] for s in (*self._recorded, shape)) > self._room:
            self._recorded.popitem(last=False)
        if self._pool is None or not self._recorded:  # torch frees a pool without recordings
            self._pool = torch.cuda.graph_pool_handle()
        try:
            self._recorded[shape] = self._record_pass(do, tokens, start, self._pool)
        except Exception:  # out of memory, or work that cannot be recorded; a plain pass reports its own
            self._fails = True
            self._forget()
        return not self._fails

    def _forget(self) -> None:
        self._recorded.clear()
        self._pool = None


class Recording:
    """One pass, and the tensors that it reads and writes."""

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
    """The graph of what `run` does on a device, and the tensor that it will have written to."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):  # a stream belongs to a device: elsewhere nothing would be recorded
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                found = run()
        finally:
            torch.cuda.set_stream(before)  # torch leaves the other one current where a recording fails
    return graph, found
