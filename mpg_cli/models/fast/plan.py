"""Which work shares a pass, and how much of the cache a pass reads: padding often costs less than exactness.

The constants were found on an AMD EPYC with two threads, the widths for CUDA on an H200. `python -m
benchmarks.kernels` prints the ratios that those for CPUs rest on, `python -m benchmarks.compare --compile`
on a GPU the speed that the widths give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.fast.compiling import compile_copy
from mpg_cli.models.fast.graphs import Graphs
from mpg_cli.models.run.plan import PassPlan, Recorder


@dataclass(frozen=True)
class FastPlan(PassPlan):
    """Prompts of like length share passes, long and short sequences pass apart, CUDA passes are recorded."""

    recorded: bool = False  # passes on CUDA are recorded as graphs
    alike: float = 2.0  # the most tokens to read among prompts that share a pass, over the fewest
    near: int = 128  # tokens of padding in one row that are cheaper than another pass
    even_width: int = 64  # positions; fast attention kernels of CUDA want even masks
    recorded_width: int = 256  # positions; a recording serves until the width exceeds its own
    max_gap: int = 16384  # bytes behind the keys of a head; a processor reads them faster than it skips them
    min_keys: int = 1 << 20  # bytes of keys of a layer; fewer lie in the processor's caches, gaps and all

    def prompts_together(self, missing: Mapping[int, int]) -> list[list[int]]:
        """Like amounts together: padding never doubles the work of a slot."""
        parts: list[list[int]] = []
        fewest = 0
        for slot in sorted(missing, key=lambda slot: (missing[slot], slot)):
            if not parts or missing[slot] + 1 > self.alike * (fewest + 1):
                parts.append([])
                fewest = missing[slot]
            parts[-1].append(slot)
        return [sorted(part) for part in parts]

    def rows_together(self, missing: Sequence[int]) -> list[range]:
        """Neighbouring rows that read about as much."""
        found: list[range] = []
        for r, amount in enumerate(missing):
            run = [*missing[found[-1].start : r], amount] if found and found[-1].stop == r else []
            if run and amount and max(run) <= max(self.alike * min(run), min(run) + self.near):
                found[-1] = range(found[-1].start, r + 1)
            elif amount:
                found.append(range(r, r + 1))
        return found

    def sequences_together(
        self, lengths: Sequence[int], position_bytes: int, weight_bytes: int
    ) -> list[list[int]]:
        """All, or the short ones and the long ones apart.

        Every row of a pass attends over as many positions as the longest has. Another pass reads the weights
        again, and keys and values of a part are copied out of the cache first (read, written, read again):
        it is worth that where the padding would be read for more bytes.
        """
        batch = len(lengths)
        order = sorted(range(batch), key=lengths.__getitem__)
        longest = lengths[order[-1]]
        # Positions that are not read if the shortest 1 .. B-1 pass apart.
        saved = [
            batch * longest - 3 * (n * lengths[b] + (batch - n) * longest)
            for n, b in enumerate(order[:-1], 1)
        ]
        if not saved or max(saved) * position_bytes <= weight_bytes:
            return [list(range(batch))]
        best = saved.index(max(saved)) + 1
        return [order[:best], order[best:]]

    def width(self, needed: int, device: torch.device) -> int:
        """On CUDA a multiple."""
        if device.type != "cuda" and not self.recorded:
            return needed
        step = self.recorded_width if self.recorded else self.even_width
        return -(-needed // step) * step

    def step_width(self, keys: Tensor | None, needed: int) -> int:
        """All positions that there are, where they are few more than needed.

        Such a pass takes the time of reading keys and values, and gaps between those of the heads stop the
        processor from reading ahead. In half precision the products take longer than reading.
        """
        if keys is None or keys.dtype != torch.float32 or keys.nbytes < self.min_keys:
            return needed
        gap = (keys.shape[2] - needed) * keys.shape[3] * keys.itemsize
        return keys.shape[2] if 0 <= gap <= self.max_gap else needed

    def recorder(self) -> Recorder | None:
        return Graphs() if self.recorded else None

    def prepare_copy(self, copy: Any, model: Any) -> None:
        compile_copy(copy, model)
