"""Muon in float32 against torch's own, which rounds to bfloat16."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_updates_equal_those_of_torch_but_for_rounding(shape: tuple[int, int]) -> None:
    from recipes.mpg_tiny.muon import Muon

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - start).abs().mean()
    assert (ours - theirs).abs().mean() < 0.03 * moved


def test_orthogonal_brings_the_singular_values_near_one() -> None:
    from recipes.mpg_tiny.muon import orthogonal

    matrices = torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3
