"""SmolLM2 in bfloat16 on a CPU: the bits of a position, whatever is computed beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run.attention import NAME, has_products
from mpg_cli.models.run.forward import Forward
from mpg_cli.models.run.invariance import invariance_of
from mpg_cli.options.model import ModelOptions

# Without bfloat16 kernels the larger sizes would take minutes.
PROMPT = 2000 if has_products() else 300  # tokens
COPIES = 40 if has_products() else 8
LAST = 17


@pytest.fixture(scope="module")
def half(got: Path) -> Iterator[LoadedModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(got))
        loaded = load_prepared(ModelOptions("smollm2", device="cpu", dtype="bfloat16"))
        if not invariance_of(loaded.model).bits:
            pytest.skip(invariance_of(loaded.model).reason)
        yield loaded


def tokens(rows: int, count: int, seed: int = 0) -> Tensor:
    return torch.randint(100, 49000, (rows, count), generator=torch.Generator().manual_seed(seed))


def read(model: Any, stream: Tensor, block: int) -> tuple[Forward, Any]:
    """The rows (R, n) read in blocks, in a cache."""
    forward = Forward(model)
    cache = forward.new_cache(len(stream))
    for at in range(0, stream.shape[1], block):
        forward.read(cache, stream[:, at : at + block], at, None)
    return forward, cache


def score(forward: Forward, cache: Any, stream: Tensor, start: int | Tensor, queries: int) -> Tensor:
    """Logits (R, n, V) of the rows (R, n), so many a pass."""
    found = []
    for at in range(0, stream.shape[1], queries):
        part = stream[:, at : at + queries]
        found.append(forward.score(cache, part, start + at, None, alone=False).clone())
    return torch.cat(found, dim=1)


def test_a_long_prompt_in_different_blocks(half: LoadedModel) -> None:
    """Then 1 to 17 queries a pass over them."""
    prompt, rest = tokens(1, PROMPT), tokens(1, LAST, seed=1)
    forward, cache = read(half.model, prompt, 257)
    whole = score(forward, cache, rest, PROMPT, LAST)
    for queries in (1, 5):
        assert torch.equal(score(forward, cache, rest, PROMPT, queries), whole)
    stores = [layer.keys[:, :, :PROMPT].clone() for layer in cache.layers]
    _, other = read(half.model, prompt, 100)
    for layer, expected in zip(other.layers, stores, strict=True):
        assert torch.equal(layer.keys[:, :, :PROMPT], expected)


def test_it_is_as_close_to_float32_as_pytorchs_attention(half: LoadedModel, loaded: LoadedModel) -> None:
    stream = tokens(1, 120)
    forward = Forward(loaded.model)
    exact = forward.score(forward.new_cache(1), stream, 0, None, alone=False).log_softmax(-1)
    gaps = []
    for attention in (NAME, "sdpa"):
        half.model.set_attn_implementation(attention)
        forward = Forward(half.model)
        found = forward.score(forward.new_cache(1), stream, 0, None, alone=False).float().log_softmax(-1)
        gaps.append(float((found - exact).abs().mean()))
    half.model.set_attn_implementation(NAME)
    assert gaps[0] < 1.1 * gaps[1]


def test_rows_companions_and_padding(half: LoadedModel) -> None:
    """One row alone, with others, as copies, and with a row that is 60 tokens ahead."""
    prompts, rest = tokens(3, 40), tokens(3, 6, seed=1)
    forward, cache = read(half.model, prompts, 40)
    whole = score(forward, cache, rest, 40, 6)
    forward, cache = read(half.model, prompts[:1], 17)
    assert torch.equal(score(forward, cache, rest[:1], 40, 1), whole[:1])
    forward, cache = read(half.model, prompts[:1].expand(COPIES, -1), 25)
    found = score(forward, cache, rest[:1].expand(COPIES, -1), 40, 3)
    assert torch.equal(found, whole[:1].expand(COPIES, -1, -1))
    forward = Forward(half.model)
    cache = forward.new_cache(2)
    forward.read(cache, tokens(1, 60, seed=2), 0, torch.tensor([1]))
    start = torch.tensor([0, 60])
    forward.read(cache, prompts[:2], start, None)
    assert torch.equal(score(forward, cache, rest[:2], start + 40, 4)[0], whole[0])


def test_the_layout_of_the_weights_changes_no_bit(
    half: LoadedModel, smollm2: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = tokens(2, 40)
    forward, cache = read(half.model, stream[:, :30], 30)
    expected = score(forward, cache, stream[:, 30:], 30, 5)
    monkeypatch.setenv("MPG_FAST", "0")
    plain = load_prepared(ModelOptions("smollm2", device="cpu", dtype="bfloat16")).model
    assert invariance_of(plain).bits
    forward, cache = read(plain, stream[:, :30], 7)
    assert torch.equal(score(forward, cache, stream[:, 30:], 30, 1), expected)
