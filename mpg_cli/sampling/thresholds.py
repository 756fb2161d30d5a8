"""Thresholds of the threshold rule, estimated from a sliding window (algorithm page, section 4). Torch-free.

Notation: a_l the log-ratio of a chunk after l tokens, m_l the threshold that it is tested against.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mpg_cli.sampling.params import Threshold

WARM_UP = 16  # chunks before the window counts


@dataclass
class Window:
    """The log-ratios of the last scored chunks of one sequence, kept or not; never shared over a batch."""

    how: Threshold
    chunks: deque[tuple[float, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = deque(maxlen=self.how.window)

    def thresholds(self, size: int) -> tuple[float, ...]:
        """m_1 .. m_size: m_l = max(0, m_{l-1}, quantile of a_l); 0 until WARM_UP chunks were seen."""
        if self.how.fixed is not None:
            return (self.how.fixed,) * size
        m, running = [], 0.0
        for place in range(size):
            seen = sorted(chunk[place] for chunk in self.chunks if len(chunk) > place)
            if len(seen) >= min(WARM_UP, self.how.window):
                running = max(running, seen[math.ceil(self.how.quantile * (len(seen) - 1))])
            m.append(running)
        return tuple(m)

    def add(self, chunks: Iterable[Sequence[float]]) -> None:
        """Remember scored chunks; call after judging them, so that thresholds never depend on them."""
        self.chunks.extend(tuple(a) for a in chunks)


def excess(a: float, m: float) -> float:
    """(e^a - e^m)+, whose mean over judged chunks is kappa; finite for any a (a capped at 700)."""
    return max(0.0, math.exp(min(a, 700.0)) - math.exp(min(m, 700.0)))
