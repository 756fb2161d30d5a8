"""Product and mixture, and what they do at the edges of float32."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.targets import mixture, product, pull

INF = torch.inf


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
    p = product(log_probs, torch.tensor([1.0, -1.0])).exp()  # the second is wanted away: token 1 wins
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
    assert not pull("product", log_probs[:, 0, :5], torch.tensor([weight, 1.0])).isnan().any()


def test_pull() -> None:
    log_probs = rows([0.5, 0.25], [0.25, 0.5], [0.5, 0.75])
    weights = torch.tensor([2.0, 1.0])
    product_pull = pull("product", log_probs, weights)
    assert torch.allclose(product_pull[0], torch.tensor([-2 * 0.6931472, 0.0]), atol=1e-6)
    shares = pull("mixture", log_probs, weights)
    assert torch.allclose(shares.sum(1), torch.ones(2))
    assert shares[0, 0] == pytest.approx(2 * 0.25 / (2 * 0.25 + 0.5))
