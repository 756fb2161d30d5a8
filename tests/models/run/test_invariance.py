"""Equal bits in bfloat16 on a CPU: every operation, and whole passes, with other companions.

Skipped where the check at load says that the kernels of this CPU do not have them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mpg_cli.models.fast import accelerate
from mpg_cli.models.linear import PlainLinear
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run.attention import row_invariant, use_few_queries
from mpg_cli.models.run.forward import Forward
from mpg_cli.models.run.invariance import (
    Invariance,
    attention_is_invariant,
    cancelling,
    check_invariance,
    invariance_of,
    rows_are_equal,
)
from mpg_cli.models.run.pool_scores import log_softmax_
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import SamplingLaw
from mpg_cli.sampling.targets import mixture, plausible, product, restrict, warp
from tests.support.models import ALL, random_tokens, tiny_model

SMOLLM2, TINY = (576, 192, 1536), (128, 64, 512)  # hidden size, keys of all heads, hidden size of the MLP
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100)
VOCABULARIES = (49152, 2000, 1999, 97)


@pytest.fixture(autouse=True, scope="module")
def _inference() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def holds() -> Invariance:
    """What the check finds for SmolLM2's attention and a small layer, with this CPU's kernels."""
    model = half("llama")
    found = check_invariance(model)
    if not found.bits:
        pytest.skip(found.reason)
    return found


def half(architecture: str, **fields: Any) -> Any:
    model = tiny_model(architecture, **fields).to(torch.bfloat16)
    use_few_queries(model)
    return model


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def in_groups(apply: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """The function on groups of rows."""
    return torch.cat([apply(part) for part in x.split(size)])


# -- operations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d_in", "d_out"),
    [(a, b) for a, b, c in (SMOLLM2, TINY)]
    + [(a, c) for a, _, c in (SMOLLM2, TINY)]
    + [(c, a) for a, _, c in (SMOLLM2, TINY)]
    + [(a, a) for a, _, c in (SMOLLM2, TINY)],
)
def test_products(holds: Invariance, d_in: int, d_out: int) -> None:
    weight, x = cancelling(d_out, d_in)
    layer = nn.Linear(d_in, d_out, bias=False, dtype=torch.bfloat16)
    layer.weight.copy_(weight)
    rows = torch.cat([x, draw(35, d_in).bfloat16()])
    whole = layer(rows)
    least = 2 if not rows_are_equal(layer, x) else 1
    assert rows_are_equal(layer, x, least)
    for n in COUNTS:
        if n >= least:
            assert torch.equal(in_groups(layer, rows[: len(rows) // n * n], n), whole[: len(rows) // n * n])
    assert torch.equal(layer(rows.view(4, 25, d_in)).flatten(0, 1), whole)
    assert torch.equal(layer(rows.repeat(3, 1))[-100:], whole)
    if layer.weight.numel() <= 2**17:
        assert torch.equal(layer(rows.repeat(41, 1))[-100:], whole)  # 4,100 rows


def test_the_head(holds: Invariance) -> None:
    weight = draw(64, 576).bfloat16().repeat(768, 1)  # (49152, 576)
    x = draw(12, 576, seed=1).bfloat16()
    head = nn.Linear(576, 49152, bias=False, dtype=torch.bfloat16)
    head.weight.copy_(weight)
    whole = head(x)
    for n in (1, 2, 5):
        assert torch.equal(in_groups(head, x[:10], n), whole[:10])


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(9, 3, 64), (4, 4, 32), (8, 1, 48), (4, 2, 8)])
@pytest.mark.parametrize("keys", [17, 64, 300, 700, 1000, 4096])
def test_attention(holds: Invariance, heads: int, key_heads: int, size: int, keys: int) -> None:
    queries, rows = 17, 7 if keys < 1000 else 3
    query = draw(rows, queries, heads, size).bfloat16().transpose(1, 2)
    key, value = (draw(rows, key_heads, keys + 400, size, seed=seed).bfloat16() for seed in (1, 2))
    place = torch.arange(keys - queries, keys)[:, None]

    def attend(rows: slice, queries: slice, width: int) -> Tensor:
        seen = torch.arange(width) <= place[queries]
        mask = torch.where(seen, 0.0, torch.finfo(torch.bfloat16).min).bfloat16()[None, None]
        k, v = key[rows, :, :width], value[rows, :, :width]
        return row_invariant(query[rows, :, queries], k, v, mask, None)

    every, width = slice(None), -(-keys // 64) * 64
    whole = attend(every, every, width)
    for n in (1, 2, 3, 5, 8, 16):
        parts = [attend(every, slice(at, at + n), width) for at in range(0, queries, n)]
        assert torch.equal(torch.cat(parts, dim=1), whole)
    for n in (1, 2, 5):
        parts = [attend(slice(at, at + n), every, width) for at in range(0, rows, n)]
        assert torch.equal(torch.cat(parts), whole)
    for more in (64, 128, 256):
        assert torch.equal(attend(every, every, width + more), whole)
    assert torch.equal(attend(slice(1, 2), slice(4, 5), width), whole[1:2, 4:5])


def test_attention_of_many_rows_and_queries(holds: Invariance) -> None:
    """Computed in parts, at most as many scores at once as fit the cache of a CPU."""
    query = draw(4, 512, 9, 64).bfloat16().transpose(1, 2)
    key, value = (draw(4, 3, 512, 64, seed=seed).bfloat16() for seed in (1, 2))
    causal = torch.arange(512) <= torch.arange(512)[:, None]
    mask = torch.where(causal, 0.0, torch.finfo(torch.bfloat16).min).bfloat16()[None, None]
    whole = row_invariant(query, key, value, mask, None)
    for at in (0, 3, 100, 509):
        some = slice(at, at + 3)
        one = row_invariant(query[2:3, :, some], key[2:3], value[2:3], mask[:, :, some], None)
        assert torch.equal(one, whole[2:3, some])


@pytest.mark.parametrize("size", [576, 128, 48, 34])
def test_normalisations(holds: Invariance, size: int) -> None:
    norms = [tiny_model("llama", hidden_size=size, num_attention_heads=1, num_key_value_heads=1).model.norm]
    norms.append(nn.LayerNorm(size))
    x = (draw(1000, size) * 2).bfloat16()
    for norm in norms:
        whole = norm.bfloat16()(x)
        for n in (1, 2, 3, 7, 16, 500):
            assert torch.equal(in_groups(norm, x, n), whole)


def test_rotary_positions(holds: Invariance) -> None:
    rotary = half("llama").model.rotary_emb
    x = torch.zeros(1, dtype=torch.bfloat16)
    whole = rotary(x, torch.arange(4096)[None])
    for first, count in ((0, 1), (17, 3), (4000, 96), (1023, 2)):
        part = rotary(x, torch.arange(first, first + count).expand(3, -1))
        for found, expected in zip(part, whole, strict=True):
            assert torch.equal(found[1], expected[0, first : first + count])


@pytest.mark.parametrize("size", VOCABULARIES)
def test_log_probabilities_and_targets(holds: Invariance, size: int) -> None:
    """From the logits of a pass to the law that is sampled."""
    rows, count = 4, 12
    logits = (draw(rows, count, size) * 4).bfloat16()
    weights = torch.tensor([0.7, -0.4, 1.3])
    law = SamplingLaw(max_tokens=1, temperature=0.7, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=1.0)

    def scored(part: Tensor) -> list[Tensor]:
        log_probs = log_softmax_(part.float().contiguous())
        found = [log_probs, product(log_probs, weights), mixture(log_probs, weights.abs())]
        kept = plausible(log_probs, weights, 0.02)
        found.append(restrict(found[1], kept))
        return [*found[:1], *(x for p in found[1:] for x in (p, warp(p, law)))]

    whole = scored(logits)
    for n in (1, 2, 3, 5, 7):
        for at in range(0, count - n, n):
            for found, expected in zip(scored(logits[:, at : at + n]), whole, strict=True):
                assert torch.equal(found, expected[..., at : at + n, :])


def test_zeros_of_a_companion_change_nothing(holds: Invariance) -> None:
    """A position with impossible tokens is combined by another formula, those beside it are not."""
    log_probs = draw(3, 2, 50).log_softmax(-1)
    weights = torch.tensor([0.3, 0.9])
    alone = product(log_probs[:, :1], weights)
    log_probs[1, 1, 7] = -torch.inf
    assert torch.equal(product(log_probs, weights)[:1], alone)
    assert product(log_probs, weights)[1, 7] == -torch.inf


# -- whole passes ----------------------------------------------------------------------------------


def logits(model: Any, streams: Sequence[Sequence[int]], block: int, queries: int, last: int) -> Tensor:
    """Logits (rows, last, V) of the last tokens of the streams: read in blocks, scored by so many a pass."""
    forward = Forward(model)
    tokens = torch.tensor(streams)
    cache = forward.new_cache(len(tokens))
    read = tokens.shape[1] - last
    for at in range(0, read, block):
        forward.read(cache, tokens[:, at : min(at + block, read)], at, None)
    found = []
    for at in range(read, tokens.shape[1], queries):
        found.append(forward.score(cache, tokens[:, at : at + queries], at, None, alone=False).clone())
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("architecture", ALL)
def test_passes_of_every_architecture(holds: Invariance, architecture: str) -> None:
    """Other blocks, queries, rows, lengths and companions; the windows are shorter than the streams."""
    model, fast = half(architecture), half(architecture)
    assert not accelerate(fast)
    if not (check_invariance(model).bits and check_invariance(fast).bits):
        pytest.skip(invariance_of(model).reason)
    streams = random_tokens(7, 100).tolist()
    whole = logits(model, streams, 80, 20, 20)
    for block, queries in ((80, 1), (3, 2), (33, 17)):
        assert torch.equal(logits(model, streams, block, queries, 20), whole)
    assert torch.equal(logits(fast, streams, 40, 5, 20), whole)
    for rows in (1, 2):
        assert torch.equal(logits(fast, streams[:rows], 80, 3, 20), whole[:rows])
    assert torch.equal(logits(model, [streams[0]] * 40, 20, 20, 20), whole[:1].expand(40, -1, -1))
    assert torch.equal(padded(model, streams[0], streams[1], 20), whole[0])


def padded(model: Any, stream: list[int], longer: list[int], last: int) -> Tensor:
    """Logits (last, V) of a stream in passes with a row that is 28 tokens ahead."""
    forward = Forward(model)
    cache = forward.new_cache(2)
    read = len(stream) - last
    forward.read(cache, torch.tensor([longer[:28]]), 0, torch.tensor([1]))
    start = torch.tensor([0, 28])
    tokens = torch.tensor([stream, longer])
    forward.read(cache, tokens[:, :read], start, None)
    rest = tokens[:, read:]
    return torch.cat(
        [
            forward.score(cache, rest[:, at : at + 5], start + read + at, None, alone=False)[0]
            for at in range(0, last, 5)
        ]
    )


# -- the check at load -----------------------------------------------------------------------------


class Moody(PlainLinear):
    """Sums one row in another order than several; with `always` every count of rows has its own."""

    always = False

    def product(self, input: Tensor) -> Tensor:
        rows, exact = input.numel() // self.in_features, input.double()
        if rows > 1 and not self.always:
            return nn.functional.linear(exact, self.weight.double()).bfloat16()
        ends = [0, rows % 7 + 1, rows % 11 + 20, self.in_features]
        parts = [slice(*pair) for pair in pairwise(ends)]
        found = [nn.functional.linear(exact[..., p], self.weight[:, p].double()).bfloat16() for p in parts]
        return (found[0] + found[1]) + found[2]


def test_a_layer_that_rounds_one_row_differently_is_padded(holds: Invariance) -> None:
    model = half("llama")
    layer = model.model.layers[1].mlp.down_proj
    layer.__class__ = Moody
    assert check_invariance(model).bits
    assert layer.least == 2
    x = draw(5, layer.in_features).bfloat16()
    assert torch.equal(layer(x[:1]), layer(x)[:1])
    assert layer(x[0]).shape == (layer.out_features,)
    assert not torch.equal(layer.product(x[:1]), layer(x)[:1])


def test_a_layer_that_always_rounds_differently_is_named(holds: Invariance) -> None:
    model = half("llama")
    layer = model.model.layers[1].mlp.down_proj
    layer.__class__ = Moody
    layer.always = True
    found = check_invariance(model)
    assert not found.bits
    assert not found.text
    assert found.reason.startswith("the product of 48 x 32 ")


def test_plain_layers_can_be_padded() -> None:
    layer = nn.Linear(8, 6, bias=True).requires_grad_(False)
    x = draw(3, 1, 8)
    expected = layer(x)
    layer.__class__ = PlainLinear
    layer.least = 4
    assert torch.equal(layer(x).round(decimals=5), expected.round(decimals=5))
    assert layer(x).shape == expected.shape


def test_inputs_of_the_check_show_another_order() -> None:
    weight, x = cancelling(96, 256)
    whole = nn.functional.linear(x.float(), weight.float())
    halves = [
        nn.functional.linear(x[:, part].float(), weight[:, part].float())
        for part in (slice(100), slice(100, None))
    ]
    assert (whole != sum(halves)).float().mean() > 0.2
    assert whole.abs().max() < 1e-3


def test_what_holds_is_said_by_precision_and_device() -> None:
    assert not invariance_of(tiny_model("llama")).text  # not checked
    served = load_prepared(ModelOptions(device="cpu", dtype="float32")).model
    assert invariance_of(served) == Invariance(False, True, "equal up to near-ties in float32")
    model = tiny_model("llama").to(torch.float16)
    assert not check_invariance(model).text
    assert "float16" in invariance_of(model).reason
    eager = tiny_model("llama").to(torch.bfloat16)
    eager.set_attn_implementation("eager")
    assert "attention" in check_invariance(eager).reason
    assert not check_invariance(half("llama"), compiled=True).bits


def test_the_bundled_model_is_checked_when_it_is_prepared(holds: Invariance) -> None:
    served = load_prepared(ModelOptions(device="cpu", dtype="bfloat16")).model
    assert invariance_of(served).bits
    assert attention_is_invariant(9, 3, 64)
