"""Which work shares a pass, and how much of the cache a pass reads: padding often costs less than passes.

The constants were found on an AMD EPYC with two threads, the widths for CUDA on an H200. `python -m
benchmarks.kernels` prints the ratios behind those for CPUs, `python -m benchmarks.compare --compile` on a GPU
the speed with the widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.fast.compiling import compile_copy
from mpg_cli.models.fast.graphs import Graphs
from mpg_cli.models.run.plan import PassPlan, Recorder

BLOCK_WORK = 70e9  # multiplications of a block of prompt tokens: about the time of a few rounds
BLOCKS = (512, 4096)  # tokens, the least and the most


def block_of(weights: int) -> int:
    """Prompt tokens between two rounds: the smaller the model, the more are read in the time of a round."""
    least, most = BLOCKS
    return max(least, min(most, int(BLOCK_WORK / max(1, weights))))


@dataclass(frozen=True)
class FastPlan(PassPlan):
    """Similar prompts share passes; long and short sequences are scored separately if that is faster."""

    recorded: bool = False  # whether passes are recorded as CUDA graphs
    alike: float = 2.0  # largest ratio of tokens to read between prompts that share a pass
    near: int = 128  # tokens of padding in a row that are cheaper than another pass
    even_width: int = 64  # positions; fast CUDA attention kernels need aligned masks
    recorded_width: int = 256  # positions; a recording is reusable up to its width
    max_gap: int = 16384  # bytes after the keys of a head that are faster to read than to skip
    min_keys: int = 1 << 20  # bytes of keys of a layer; fewer fit into the CPU caches with their gaps

    def read_together(self, missing: Sequence[int], budget: int) -> list[int]:
        """The first row and others with similar amounts, in their order, as many as the budget allows."""
        first, chosen, longest = missing[0], [0], missing[0]
        for place, amount in enumerate(missing[1:], 1):
            few, many = min(first, amount), max(longest, amount)
            alike = many <= max(self.alike * few, few + self.near)
            if alike and (len(chosen) + 1) * many <= budget:
                chosen.append(place)
                longest = many
        return chosen

    def sequences_together(
        self, lengths: Sequence[int], position_bytes: int, weight_bytes: int
    ) -> list[list[int]]:
        """All together, or short and long sequences separately.

        Every row of a pass attends over the positions of the longest one. A second pass reads the weights
        again and first copies the keys and values of its sequences out of the cache (three transfers). Worth
        it where that is fewer bytes than the padding.
        """
        batch = len(lengths)
        order = sorted(range(batch), key=lengths.__getitem__)
        longest = lengths[order[-1]]
        # Positions not read if the shortest 1 .. B-1 sequences have a pass of their own.
        saved = [
            batch * longest - 3 * (n * lengths[b] + (batch - n) * longest)
            for n, b in enumerate(order[:-1], 1)
        ]
        if not saved or max(saved) * position_bytes <= weight_bytes:
            return [list(range(batch))]
        best = saved.index(max(saved)) + 1
        return [order[:best], order[best:]]

    def width(self, needed: int, device: torch.device) -> int:
        """On CUDA rounded up to a multiple."""
        if device.type != "cuda" and not self.recorded:
            return needed
        step = self.recorded_width if self.recorded else self.even_width
        return -(-needed // step) * step

    def step_width(self, keys: Tensor | None, needed: int) -> int:
        """The whole capacity, where that is little more than needed.

        Such a pass is bound by reading keys and values, and gaps between heads defeat the prefetching of the
        CPU. In half precision the products dominate.
        """
        if keys is None or keys.dtype != torch.float32 or keys.nbytes < self.min_keys:
            return needed
        gap = (keys.shape[2] - needed) * keys.shape[3] * keys.itemsize
        return keys.shape[2] if 0 <= gap <= self.max_gap else needed

    def recorder(self) -> Recorder | None:
        return Graphs() if self.recorded else None

    def prepare_copy(self, copy: Any, model: Any) -> None:
        compile_copy(copy, model)
