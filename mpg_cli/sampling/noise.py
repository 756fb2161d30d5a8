"""Randomness as a pure function of its key: no state, no order of calls, no global seed.

Generator: Philox4x64-10 (Salmon et al. 2011) as in numpy, key = (seed, sequence id), counter =
(0, offset, stream, position), read as 32-bit words, low half first. A string id enters by
BLAKE2b-64 of its UTF-8. Frozen by the vectors in tests/sampling/test_noise.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

EXACT = 0  # stream of the exact rule: position is that of the reply token
TARGET = 1  # the target's token of a round; position is where the round starts, here and below


def draft_stream(candidate: int) -> int:
    """Stream of the drafted tokens of a candidate (offset: place in the chunk)."""
    return 2 + 2 * candidate


def judge_stream(candidate: int) -> int:
    """Stream of the acceptance tests of a candidate (offset: place in the chunk)."""
    return 3 + 2 * candidate


@dataclass(frozen=True)
class Noise:
    """The noise of one sequence."""

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


def gumbels(places: Sequence[tuple[Noise, int]], size: int) -> Tensor:
    """The noise of n reply positions under the exact rule, (n, size): `Noise.gumbel` of each in one go."""
    return _gumbel(_words(places, size))


def _words(
    places: Sequence[tuple[Noise, int]], size: int, stream: int = EXACT, offset: int = 0
) -> np.ndarray:
    """The random words of n positions, (n, size) uint32, of one generator that is set to each in turn."""
    source, nothing = np.random.Philox(key=0), np.zeros(4, dtype=np.uint64)
    raw = np.empty((len(places), (size + 1) // 2), dtype="<u8")
    for row, (noise, position) in zip(raw, places, strict=True):
        counter = np.array([0, offset, stream, position], dtype=np.uint64)
        source.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": noise.key},
            "buffer": nothing,
            "buffer_pos": 4,  # all of it has been used
            "has_uint32": 0,
            "uinteger": 0,
        }
        row[:] = source.random_raw(len(row))
    return raw.view("<u4")[:, :size]


def _gumbel(words: np.ndarray) -> Tensor:
    """-log(-log1p(-v)) of 32-bit words as v in (0, 1), fine where it is large (v near 0)."""
    v = torch.from_numpy((words.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32))
    v.clamp_(max=1 - 2**-24)  # rounding must not reach 1
    return v.neg_().log1p_().neg_().log_().neg_()


def sequence_key(sequence: int | str) -> int:
    """The 64-bit word by which a sequence id enters the key."""
    if isinstance(sequence, int):
        return sequence % 2**64
    return int.from_bytes(hashlib.blake2b(sequence.encode("utf-8"), digest_size=8).digest(), "little")
