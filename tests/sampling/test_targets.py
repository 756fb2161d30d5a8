"""Product and mixture at the edges of float32; warping against plain computations, and its order."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.targets import contributions, extrapolates, mixture, plausible, product, restrict, warp

INF = torch.inf
P = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])


def rows(*probabilities: list[float]) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log().float()


def test_product_is_the_weighted_log_linear_pool() -> None:
    p0, p1, p2 = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]
    raw = torch.tensor([a * (b / a) ** 0.7 * (c / a) ** -1.2 for a, b, c in zip(p0, p1, p2, strict=True)])
    got = product(rows(p0, p1, p2), torch.tensor([0.7, -1.2])).exp()
    assert torch.allclose(got, raw / raw.sum(), atol=1e-6)


def test_mixture_is_the_weighted_mean() -> None:
    got = mixture(rows([0.9, 0.1], [0.2, 0.8], [0.6, 0.4]), torch.tensor([3.0, 1.0])).exp()
    assert torch.allclose(got, torch.tensor([0.75 * 0.2 + 0.25 * 0.6, 0.75 * 0.8 + 0.25 * 0.4]), atol=1e-6)


def test_experts_equal_to_the_reference_leave_it() -> None:
    row = torch.randn(50, generator=torch.Generator().manual_seed(1)).log_softmax(0)
    same = torch.stack([row] * 4)
    for target in (product, mixture):
        assert torch.allclose(target(same, torch.tensor([1.0, 2.0, 0.5])), row, atol=1e-5)


def test_product_with_impossible_tokens() -> None:
    log_probs = torch.tensor(
        [[0.4, 0.3, 0.3, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0], [0.3, 0.0, 0.3, 0.4, 0.0]]
    ).log()
    p = product(log_probs, torch.tensor([1.0, 1.0])).exp()
    assert torch.allclose(p, torch.tensor([1.0, 0, 0, 0, 0]))
    p = product(
        log_probs, torch.tensor([1.0, -1.0])
    ).exp()  # the second has a negative weight: token 1 remains
    assert torch.allclose(p, torch.tensor([0.0, 1.0, 0, 0, 0]))


@pytest.mark.parametrize("weight", [-10.0, 10.0])
def test_no_nan_with_large_weights_vocabularies_and_zeros(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 150_000, generator=generator) * 8
    logits[1, 0, :1000] = -INF
    logits[0, 1, 500:600] = -INF
    log_probs = logits.log_softmax(-1)
    p = product(log_probs, torch.tensor([weight, 1.0]))
    assert not p.isnan().any()
    assert torch.allclose(p.exp().sum(-1), torch.ones(2), atol=1e-3)
    assert (p[1, 500:600] == -INF).all()
    m = mixture(log_probs, torch.tensor([1.0, 9.0]))
    assert not m.isnan().any()
    assert not contributions("product", log_probs[:, 0, :5], torch.tensor([weight, 1.0])).isnan().any()


def test_contributions() -> None:
    log_probs = rows([0.5, 0.25], [0.25, 0.5], [0.5, 0.75])
    weights = torch.tensor([2.0, 1.0])
    of_product = contributions("product", log_probs, weights)
    assert torch.allclose(of_product[0], torch.tensor([-2 * 0.6931472, 0.0]), atol=1e-6)
    shares = contributions("mixture", log_probs, weights)
    assert torch.allclose(shares.sum(1), torch.ones(2))
    assert shares[0, 0] == pytest.approx(2 * 0.25 / (2 * 0.25 + 0.5))


# -- what a row alone would say --------------------------------------------------------------------

ROWS = rows([0.5, 0.3, 0.1, 0.1, 0.0], [0.2, 0.6, 0.02, 0.08, 0.1], [0.05, 0.15, 0.6, 0.1, 0.1])


def said(weights: list[float], least: float) -> list[int]:
    found = plausible(ROWS[: 1 + len(weights)], torch.tensor(weights), least)
    return found.nonzero().flatten().tolist()


@pytest.mark.parametrize(
    "weights, least, tokens",
    [
        ([1.0, 1.0], 0.5, [0, 1, 2]),  # the reference says 0 and 1, the experts 1 and 2
        ([1.0, 1.0], 1.0, [0, 1, 2]),
        ([1.0, 0.5], 0.19, [0, 1, 2, 3]),
        ([1.5, -0.5], 0.5, [0, 1]),  # one to steer away from adds none
        ([-1.0, -1.0], 1.0, [0]),
        ([1.2, 0.0], 1.0, [0, 1]),
        ([], 0.5, [0, 1]),
    ],
)
def test_tokens_that_a_row_alone_would_say(weights: list[float], least: float, tokens: list[int]) -> None:
    assert said(weights, least) == tokens


def test_each_slot_is_restricted_by_its_own_weights() -> None:
    weights = [[1.0, 1.0], [1.5, -0.5], [1.2, 0.0]]
    together = plausible(ROWS[:, None].expand(3, 3, 5), torch.tensor(weights).T, 0.5)
    for own, found in zip(weights, together, strict=True):
        assert found.nonzero().flatten().tolist() == said(own, 0.5)


@pytest.mark.parametrize(
    "weights", [[], [1.0], [0.5], [0.0], [0.1, 0.9], [0.3, 0.7], [0.1] * 10, [0.02] * 50, [0.7, 0.2, 0.1]]
)
def test_weights_up_to_a_sum_of_1_stay_between_the_rows(weights: list[float]) -> None:
    assert not extrapolates(weights)


@pytest.mark.parametrize("weights", [[1.01], [0.5, 0.51], [0.7] * 4, [0.5, -0.1], [-1.0]])
def test_other_weights_extrapolate(weights: list[float]) -> None:
    assert extrapolates(weights)


def test_a_restriction_renormalises_what_is_left() -> None:
    got = restrict(P.log(), torch.tensor([True, False, True, False, True])).exp()
    assert torch.allclose(got, torch.tensor([0.05, 0, 0.15, 0, 0.1]) / 0.3, atol=1e-6)


def test_a_restriction_to_all_or_to_impossible_tokens_changes_no_bit() -> None:
    log_p = torch.tensor([0.3, 0.6, 0.1, 0.0]).log()
    for kept in ([True] * 4, [False] * 4, [False, False, False, True]):
        assert torch.equal(restrict(log_p, torch.tensor(kept)), log_p)


# -- warping --------------------------------------------------------------------------------------


def possible(how: SamplingLaw) -> list[int]:
    return (warp(P.log(), how) > -torch.inf).nonzero().flatten().tolist()


def test_nothing_by_default() -> None:
    assert torch.allclose(warp(P.log(), SamplingLaw()), P.log(), atol=1e-6)


def test_temperature() -> None:
    assert torch.allclose(warp(P.log(), SamplingLaw(temperature=0.5)).exp(), P**2 / (P**2).sum(), atol=1e-6)


def test_greedy_takes_the_lowest_of_equals() -> None:
    got = warp(torch.tensor([0.1, 0.45, 0.45]).log(), SamplingLaw(temperature=0)).exp()
    assert got.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "how, tokens",
    [
        (SamplingLaw(top_k=2), [1, 3]),
        (SamplingLaw(top_k=9), [0, 1, 2, 3, 4]),
        (SamplingLaw(top_p=0.7), [1, 3]),
        (SamplingLaw(top_p=0.71), [1, 2, 3]),
        (SamplingLaw(top_p=0.01), [1]),
        (SamplingLaw(min_p=0.3), [1, 2, 3]),
        (SamplingLaw(min_p=1.0), [1]),
        (SamplingLaw(top_k=3, top_p=0.6), [1, 3]),
    ],
)
def test_truncation(how: SamplingLaw, tokens: list[int]) -> None:
    assert possible(how) == tokens
    assert warp(P.log(), how).exp().sum() == pytest.approx(1, abs=1e-6)


def test_temperature_comes_before_truncation() -> None:
    assert possible(SamplingLaw(temperature=3.0, top_p=0.7)) != possible(SamplingLaw(top_p=0.7))


def test_impossible_tokens_stay_impossible() -> None:
    log_p = torch.tensor([0.5, 0.5, 0.0]).log()
    for how in (SamplingLaw(temperature=0.3), SamplingLaw(top_p=0.9), SamplingLaw(min_p=0.1)):
        got = warp(log_p, how)
        assert not got.isnan().any()
        assert got[2] == -torch.inf


def test_untruncated_keeps_the_temperature() -> None:
    assert SamplingLaw(
        temperature=0.7, top_k=3, top_p=0.9, min_p=0.1, expert_min_p=0.2
    ).untruncated() == SamplingLaw(temperature=0.7)


def test_min_p_comes_last() -> None:
    """Top-k and top-p leave 1, 3 and 2; of these min-p then takes what the renormalised maximum allows."""
    p = torch.tensor([0.25, 0.25, 0.24, 0.26])
    both = warp(p.log(), SamplingLaw(top_p=0.3, min_p=0.97)).exp()
    assert (both > 0).tolist() == [False, False, False, True]
    narrow = warp(torch.tensor([0.5, 0.3, 0.2]).log(), SamplingLaw(top_k=2, top_p=0.62, min_p=0.5)).exp()
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
        assert torch.equal(warp(log_p, SamplingLaw(top_p=top_p)) > -torch.inf, expected)


def test_values_below_float32_keep_the_likeliest() -> None:
    assert warp(P.log(), SamplingLaw(temperature=1e-320)).exp().tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert possible(SamplingLaw(top_p=1e-320)) == [1]
    assert possible(SamplingLaw(top_p=1e-46)) == [1]
