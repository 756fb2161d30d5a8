"""Rules by enumeration: one round, completed by the target, must have the target's law.

Every draft, every accepted length and every completion of a four-token vocabulary with an end token is
enumerated in float64, so these are equalities and not estimates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from tests.sampling.fake import END, VOCABULARY, random_law

Law = Callable[[tuple[int, ...]], Sequence[float]]


def ended(prefix: tuple[int, ...]) -> bool:
    return END in prefix


def padded(law: Law) -> Law:
    """The law with all mass on padding (here: the end token again) after the end."""
    return lambda prefix: (0.0, 0.0, 0.0, 1.0) if ended(prefix) else law(prefix)


def target(prefix: tuple[int, ...]) -> Sequence[float]:
    """A product of two experts over a reference, normalised per token."""
    rows = [torch.tensor(random_law(row, prefix), dtype=torch.float64).log() for row in range(3)]
    return torch.softmax(rows[0] + 0.9 * (rows[1] - rows[0]) + 0.6 * (rows[2] - rows[0]), 0).tolist()


def drafter(prefix: tuple[int, ...]) -> Sequence[float]:
    return random_law(0, prefix)


P, Q = padded(target), padded(drafter)


def strings(length: int) -> list[tuple[int, ...]]:
    """All token strings of that length in which only padding follows an end."""
    return [
        s
        for s in itertools.product(range(VOCABULARY), repeat=length)
        if END not in s or all(t == END for t in s[s.index(END) :])
    ]


def mass(law: Law, string: tuple[int, ...], start: int = 0) -> float:
    return math.prod(law(string[:i])[string[i]] for i in range(start, len(string)))


def ratios(chunk: tuple[int, ...], p: Law = P, q: Law = Q) -> list[float]:
    steps = [math.log(p(chunk[:i])[t]) - math.log(q(chunk[:i])[t]) for i, t in enumerate(chunk)]
    return list(itertools.accumulate(steps))
