"""Each reshaping against a plain computation, and their order."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.warpers import Warp, warp

P = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])


def kept(how: Warp) -> list[int]:
    return (warp(P.log(), how) > -torch.inf).nonzero().flatten().tolist()


def test_nothing_by_default() -> None:
    assert torch.allclose(warp(P.log(), Warp()), P.log(), atol=1e-6)


def test_temperature() -> None:
    assert torch.allclose(warp(P.log(), Warp(temperature=0.5)).exp(), P**2 / (P**2).sum(), atol=1e-6)


def test_greedy_takes_the_lowest_of_equals() -> None:
    got = warp(torch.tensor([0.1, 0.45, 0.45]).log(), Warp(temperature=0)).exp()
    assert got.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "how, tokens",
    [
        (Warp(top_k=2), [1, 3]),
        (Warp(top_k=9), [0, 1, 2, 3, 4]),
        (Warp(top_p=0.7), [1, 3]),
        (Warp(top_p=0.71), [1, 2, 3]),
        (Warp(top_p=0.01), [1]),
        (Warp(min_p=0.3), [1, 2, 3]),
        (Warp(min_p=1.0), [1]),
        (Warp(top_k=3, top_p=0.6), [1, 3]),
    ],
)
def test_truncation(how: Warp, tokens: list[int]) -> None:
    assert kept(how) == tokens
    assert warp(P.log(), how).exp().sum() == pytest.approx(1, abs=1e-6)


def test_temperature_comes_before_truncation() -> None:
    assert kept(Warp(temperature=3.0, top_p=0.7)) != kept(Warp(top_p=0.7))


def test_impossible_tokens_stay_impossible() -> None:
    log_p = torch.tensor([0.5, 0.5, 0.0]).log()
    for how in (Warp(temperature=0.3), Warp(top_p=0.9), Warp(min_p=0.1)):
        got = warp(log_p, how)
        assert not got.isnan().any()
        assert got[2] == -torch.inf


def test_untruncated_keeps_the_temperature() -> None:
    assert Warp(temperature=0.7, top_k=3, top_p=0.9, min_p=0.1).untruncated() == Warp(temperature=0.7)


def test_min_p_comes_last() -> None:
    """Top-k and top-p leave 1, 3 and 2; of these min-p then takes what the renormalised maximum allows."""
    p = torch.tensor([0.25, 0.25, 0.24, 0.26])
    both = warp(p.log(), Warp(top_p=0.3, min_p=0.97)).exp()
    assert (both > 0).tolist() == [False, False, False, True]
    narrow = warp(torch.tensor([0.5, 0.3, 0.2]).log(), Warp(top_k=2, top_p=0.62, min_p=0.5)).exp()
    assert (narrow > 0).tolist() == [True, False, False]  # 0.5 / 0.8 is 0.625: top-p counts after top-k


def test_a_nucleus_in_a_large_vocabulary_is_the_one_of_a_full_sort() -> None:
    """Peaked: it lies in the head. Flat: it does not, and everything is sorted. Equal values: lowest ids."""
    generator = torch.Generator().manual_seed(0)
    for scale, top_p in ((4.0, 0.9), (0.1, 0.9), (4.0, 0.999), (0.0, 0.01)):
        log_p = (scale * torch.randn(2, 5000, generator=generator)).log_softmax(-1)
        ordered, ids = log_p.sort(dim=-1, descending=True, stable=True)
        mass = ordered.exp()
        inside = mass.cumsum(-1) - mass < top_p
        expected = torch.zeros_like(log_p, dtype=torch.bool).scatter_(-1, ids, inside)
        assert torch.equal(warp(log_p, Warp(top_p=top_p)) > -torch.inf, expected)


def test_values_below_float32_keep_the_likeliest() -> None:
    assert warp(P.log(), Warp(temperature=1e-320)).exp().tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert kept(Warp(top_p=1e-320)) == [1]
    assert kept(Warp(top_p=1e-46)) == [1]
