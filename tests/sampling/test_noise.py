"""The generator is part of the interface: a seed must give the same text in later versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpg_cli.sampling.noise import (
    BLOCK,
    EXACT,
    TARGET,
    GumbelNoise,
    Gumbels,
    Noise,
    draft_stream,
    sequence_key,
    verify_stream,
)


def test_frozen_vectors() -> None:
    assert Noise(0, 0).bits(4, 0).tolist() == [0x08E4D89B, 0x02F4BA64, 0x9CA8C5B2, 0x3DD62B0B]
    assert Noise(42, "line-1").bits(3, 17, 1, 2).tolist() == [0xE385B5F3, 0xE1E85B99, 0xCDE49711]
    assert Noise(2**64 - 1, 7).bits(2, 5, 3, 1).tolist() == [0x42335953, 0xBC18FD2E]
    assert sequence_key("line-1") == 14453228215082738412
    assert sequence_key(7) == 7
    assert Noise(0, 0).gumbel(3, 0).tolist() == pytest.approx([3.3422, 4.4555, 0.0549], abs=1e-4)


def test_every_part_of_the_key_matters() -> None:
    base = Noise(1, 1).bits(2, 3, EXACT, 0).tolist()
    others = [
        Noise(2, 1).bits(2, 3),
        Noise(1, 2).bits(2, 3),
        Noise(1, "1").bits(2, 3),
        Noise(1, 1).bits(2, 4),
        Noise(1, 1).bits(2, 3, TARGET),
        Noise(1, 1).bits(2, 3, EXACT, 1),
    ]
    assert all(o.tolist() != base for o in others)
    assert len({EXACT, TARGET, *(f(n) for f in (draft_stream, verify_stream) for n in range(50))}) == 102


def test_a_prefix_of_the_vocabulary_gets_the_same_noise() -> None:
    assert torch.equal(Noise(1, 1).gumbel(1000, 3)[:7], Noise(1, 1).gumbel(7, 3))


def test_gumbel_distribution() -> None:
    """Kolmogorov distance over 200,000 values; beyond 0.0066 once in 10^7 (2 e^{-2 n d^2})."""
    n = 200_000
    values = Noise(9, 9).gumbel(n, 0).double().sort().values
    law = torch.exp(-torch.exp(-values))
    distance = (law - (torch.arange(n) + 0.5) / n).abs().max() + 0.5 / n
    assert distance < 0.0066
    assert values.isfinite().all()


class Ends(Noise):
    """The least and the largest words."""

    def bits(self, size: int, position: int, stream: int = EXACT, offset: int = 0) -> np.ndarray:
        return np.array([0, 1, 2**32 - 1, 2**32 - 2], dtype=np.uint32)


def test_extreme_words_stay_finite() -> None:
    g = Ends(0, 0).gumbel(4, 0)
    assert g.isfinite().all()
    assert g[0] == pytest.approx(-math.log(0.5 / 2**32), abs=1e-3)
    assert g[0] > g[1]


def test_uniform_is_inside_the_unit_interval_and_uniform() -> None:
    """Mean of 4,000: beyond 0.5 +- 0.023 once in 10^6."""
    u = [Noise(3, 0).uniform(i, verify_stream(0)) for i in range(4000)]
    assert all(0 < x < 1 for x in u)
    assert sum(u) / len(u) == pytest.approx(0.5, abs=0.023)


@pytest.mark.parametrize("size", [5, 48, 2048, BLOCK // 2 + 1, 2 * BLOCK])
@pytest.mark.parametrize("count", [1, 3])
def test_a_position_has_its_own_noise_however_many_are_made_at_once(size: int, count: int) -> None:
    sequences = [Gumbels(Noise(7, f"r{n}"), limit=99) for n in range(count)]
    noise, like = GumbelNoise(greedy=False), torch.zeros(size)
    for positions in ((0,), (0, 1, 2), (2, 3), (40,)):
        places = [(own, position) for own in sequences for position in positions]
        for found, (own, position) in zip(noise.at(places, like), places, strict=True):
            assert torch.equal(found, own.noise.gumbel(size, position))


@pytest.mark.parametrize(
    "size, count, ahead", [(2048, 1, 16), (2048, 4, 4), (2048, 64, 1), (2 * BLOCK, 1, 1)]
)
def test_what_is_made_ahead_is_one_block(size: int, count: int, ahead: int) -> None:
    sequences = [Gumbels(Noise(7, n), limit=99) for n in range(count)]
    GumbelNoise(greedy=False).make([(own, 3) for own in sequences], torch.zeros(size))
    assert [sorted(own.made) for own in sequences] == [list(range(3, 3 + ahead))] * count


def test_none_is_made_behind_the_last_token() -> None:
    own = Gumbels(Noise(7, 0), limit=5)
    noise, like = GumbelNoise(greedy=False), torch.zeros(4)
    noise.make([(own, 2)], like)
    assert sorted(own.made) == [2, 3, 4]
    noise.make([(own, 5)], like)  # what verification asks for is made wherever it is
    assert 5 in own.made


def test_greedy_makes_none() -> None:
    own = Gumbels(Noise(7, 0), limit=99)
    noise = GumbelNoise(greedy=True)
    assert not noise.at([(own, 0)], torch.zeros(9)).any()
    assert not own.made
