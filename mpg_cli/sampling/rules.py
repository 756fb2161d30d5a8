"""How a drafted chunk is judged (algorithm page, section 4). Pure functions on one chunk.

Notation: chunk c of gamma tokens from prefix h; a_l = sum_{j<=l} (log p - log q) its log-ratio after l
tokens, a_0 = 0; m_1 <= ... <= m_gamma the thresholds, fixed before the pass; u_l independent uniforms.
Each judge returns L, the length of the prefix that is kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["exact", "threshold"]

WARM_UP = 16  # chunks before the window counts


def judge_exact(draft: Sequence[int], choices: Sequence[int]) -> int:
    """Rule `exact`: keep while draft and target, moved by the same noise, choose the same token.

    Returns L, the first place where the gamma drafted tokens differ from the target's choices.
    """
    for length, (drafted, chosen) in enumerate(zip(draft, choices, strict=False)):
        if drafted != chosen:
            return length
    return len(draft)


def keep_probability(length: int, a: Sequence[float], m: Sequence[float]) -> float:
    """B_l of the threshold rule: the chance that a test at l keeps l tokens, given that longer ones failed.

    B_gamma = min(1, e^{a_gamma - m_gamma}); for l < gamma: 1 if a_l >= m_l, else
    e^{a_l} (e^{-m_l} - e^{-m_{l+1}}) / (1 - e^{a_l - m_{l+1}}).
    If no a_l exceeds m_l, P(keep >= l) = e^{-m_l} whatever the text, and the kept prefix has law p.
    """
    a_l, m_l = a[length - 1], m[length - 1]
    if a_l >= m_l:
        return 1.0
    if length == len(a):
        return math.exp(a_l - m_l)
    after = m[length]
    return math.exp(a_l) * (math.exp(-m_l) - math.exp(-after)) / -math.expm1(a_l - after)


def judge_threshold(a: Sequence[float], m: Sequence[float], u: Sequence[float]) -> int:
    """Rule `threshold`: test l = gamma ... 1 with u_l each; the first success keeps l tokens, else 0."""
    for length in range(len(a), 0, -1):
        if u[length - 1] < keep_probability(length, a, m):
            return length
    return 0


@dataclass(frozen=True)
class Threshold:
    """Where the thresholds come from: `fixed` ones, or a quantile (1: maximum) of a sliding window."""

    quantile: float = 1.0
    fixed: float | None = None
    window: int = 64


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

    def add(self, a: Sequence[float]) -> None:
        """Remember a scored chunk; call after judging it, so that thresholds never depend on it."""
        self.chunks.append(tuple(a))
