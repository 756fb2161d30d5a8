"""Randomness as a pure function of its key: no state, no order of calls, no global seed.

Generator: Philox4x64-10 (Salmon et al. 2011) as in numpy, key = (seed, sequence id), counter =
(0, offset, stream, position), read as 32-bit words, low half first. A string id enters by
BLAKE2b-64 of its UTF-8. Frozen by the vectors in tests/sampling/test_noise.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mpg_cli.sampling.scorer import to_device

BLOCK = 2**15  # numbers generated at once: with a single reply the cost of the calls dominates
# Streams. `position` is that of the token under the exact rule, else that of the start of the round.
EXACT = 0
TARGET = 1  # the token that the target adds in a round


def draft_stream(candidate: int) -> int:
    """Stream of the drafted tokens of a candidate (offset: index in the chunk)."""
    return 2 + 2 * candidate


def verify_stream(candidate: int) -> int:
    """Stream of the uniforms that verify a candidate (offset: index in the chunk)."""
    return 3 + 2 * candidate


@dataclass(frozen=True)
class Noise:
    """The random numbers of one sequence."""

    seed: int
    sequence: int | str

    def bits(self, size: int, position: int, stream: int = EXACT, offset: int = 0) -> np.ndarray:
        """`size` random 32-bit words, uint32."""
        words: np.ndarray = _words([(self, position)], size, stream, offset)[0]
        return words

    @cached_property
    def key(self) -> np.ndarray:
        """The generator's key, two 64-bit words."""
        return np.array([self.seed % 2**64, sequence_key(self.sequence)], dtype=np.uint64)

    def uniform(self, position: int, stream: int, offset: int = 0) -> float:
        """One number in (0, 1)."""
        return (float(self.bits(1, position, stream, offset)[0]) + 0.5) / 2**32

    def gumbel(self, size: int, position: int, stream: int = EXACT, offset: int = 0) -> Tensor:
        """Standard Gumbel noise, (size,) float32."""
        return _gumbel(self.bits(size, position, stream, offset))


@dataclass
class Gumbels:
    """Noise of one sequence under the exact rule, (V,) for each reply position; cached until committed."""

    noise: Noise
    limit: int  # tokens of the reply; no noise is generated beyond them
    made: dict[int, Tensor] = field(default_factory=dict)

    def drop(self, end: int) -> None:
        """Drop the noise of positions before `end`, whose tokens are committed."""
        for position in [p for p in self.made if p < end]:
            del self.made[position]


class GumbelNoise:
    """Noise as tensors on the device of the logits that it is added to; zeros when greedy.

    Under the exact rule draft and target use the same noise at a position.
    """

    def __init__(self, greedy: bool) -> None:
        self._greedy = greedy

    def at(self, positions: Sequence[tuple[Gumbels, int]], like: Tensor) -> Tensor:
        """The exact rule's noise (n, V) of n positions."""
        if self._greedy or not positions:
            return like.new_zeros(len(positions), like.shape[-1])
        self.make(positions, like)
        return torch.stack([gumbels.made[position] for gumbels, position in positions])  # (n, V)

    def make(self, positions: Sequence[tuple[Gumbels, int]], like: Tensor) -> None:
        """Generate the noise missing at these positions, and up to BLOCK numbers for those that follow."""
        missing = [(gumbels, position) for gumbels, position in positions if position not in gumbels.made]
        if self._greedy or not missing:
            return
        ahead = max(1, BLOCK // (len(missing) * like.shape[-1]))
        wanted = {
            (id(gumbels), position): (gumbels, position)
            for gumbels, first in missing
            for position in range(first, max(first + 1, min(first + ahead, gumbels.limit)))
            if position not in gumbels.made
        }
        keys = [(gumbels.noise, position) for gumbels, position in wanted.values()]
        made = to_device(_gumbel(_words(keys, like.shape[-1])), like.device)  # (wanted, V)
        for (gumbels, position), noise in zip(wanted.values(), made, strict=True):
            gumbels.made[position] = noise

    def once(self, noise: Noise, start: int, stream: int, offset: int, like: Tensor) -> Tensor:
        """Noise (V,) for a single use, keyed by the position where the round starts."""
        if self._greedy:
            return torch.zeros_like(like)
        return to_device(noise.gumbel(like.shape[-1], start, stream, offset), like.device)


def _words(
    positions: Sequence[tuple[Noise, int]], size: int, stream: int = EXACT, offset: int = 0
) -> np.ndarray:
    """The random words of n positions, (n, size) uint32, from one generator set to each key and counter."""
    source, empty = np.random.Philox(key=0), np.zeros(4, dtype=np.uint64)
    raw = np.empty((len(positions), (size + 1) // 2), dtype="<u8")
    for row, (noise, position) in zip(raw, positions, strict=True):
        counter = np.array([0, offset, stream, position], dtype=np.uint64)
        source.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": noise.key},
            "buffer": empty,
            "buffer_pos": 4,  # used up
            "has_uint32": 0,
            "uinteger": 0,
        }
        row[:] = source.random_raw(len(row))
    return raw.view("<u4")[:, :size]


def _gumbel(words: np.ndarray) -> Tensor:
    """-log(-log1p(-v)) of 32-bit words as v in (0, 1): full resolution in the upper tail (v near 0)."""
    v = torch.from_numpy((words.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32))
    v.clamp_(max=1 - 2**-24)  # rounding must not reach 1
    return v.neg_().log1p_().neg_().log_().neg_()


def sequence_key(sequence: int | str) -> int:
    """The 64-bit word of a sequence id in the key."""
    if isinstance(sequence, int):
        return sequence % 2**64
    return int.from_bytes(hashlib.blake2b(sequence.encode("utf-8"), digest_size=8).digest(), "little")
