"""Attention of few queries against PyTorch's own, and models of all architectures with it and without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mpg_cli.models.load.loader import load_model
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run import attention
from mpg_cli.models.run.attention import NAME, SCORES, attend, use_few_queries
from mpg_cli.models.run.fold import fold
from mpg_cli.options.model import ModelOptions
from tests.support.models import ALL, tiny_model
from tests.support.rows import AlikeRows

WIDTH, SIZE = 23, 8


class Layer(torch.nn.Module):
    """What transformers' function asks of the layer that calls it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups
        self.is_causal = True


def problem(
    rows: int, heads: int, kept: int, queries: int, width: int = WIDTH
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value and mask as a pass has them: views into a longer cache, rows of different length."""
    draw = torch.Generator().manual_seed(rows * 100 + heads * 10 + queries)
    query = torch.randn(rows, queries, heads, SIZE, generator=draw).transpose(1, 2)
    key, value = (torch.randn(rows, kept, width + 9, SIZE, generator=draw)[:, :, :width] for _ in range(2))
    first = torch.randint(0, width - queries, (rows, 1), generator=draw)
    place = first + torch.arange(queries)  # (rows, T)
    seen = torch.arange(width) <= place[:, None, :, None]  # (rows, 1, T, S)
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
    return query, key, value, mask


@pytest.mark.parametrize("queries", [1, 2, 5, 17])
@pytest.mark.parametrize(("heads", "kept"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_pytorchs_attention(rows: int, heads: int, kept: int, queries: int, dtype: torch.dtype) -> None:
    compare(problem(rows, heads, kept, queries), dtype)


@pytest.mark.parametrize("kept", [4, 2])
def test_many_scores_are_pytorchs_attention_too(kept: int) -> None:
    rows, heads, queries = 3, 4, 17
    width = SCORES // (rows * heads * queries) + 1
    compare(problem(rows, heads, kept, queries, width), torch.float32)


def compare(inputs: tuple[Tensor, Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    """`attend` against PyTorch's attention in this dtype and in float64."""
    rows, heads, queries, _ = inputs[0].shape
    kept = inputs[1].shape[1]
    layer = Layer(heads // kept)
    exact, _ = sdpa_attention_forward(layer, *(x.to(dtype).double() for x in inputs), scaling=0.3)
    plain, _ = sdpa_attention_forward(layer, *(x.to(dtype) for x in inputs), scaling=0.3)
    found, _ = attend(layer, *(x.to(dtype) for x in inputs), scaling=0.3)
    assert found.shape == plain.shape == (rows, queries, heads, SIZE)
    assert found.dtype == dtype
    error, of_plain = ((x - exact).abs().max() for x in (found, plain))
    assert error < 2e-6 if dtype == torch.float32 else error <= 1.5 * of_plain


def test_the_scale_is_that_of_the_head_where_none_is_given() -> None:
    inputs = problem(3, 4, 2, 5)
    expected, _ = sdpa_attention_forward(Layer(2), *inputs)
    assert torch.allclose(attend(Layer(2), *inputs)[0], expected, atol=2e-6)


def test_one_mask_serves_all_rows() -> None:
    query, key, value, mask = problem(3, 4, 2, 5)
    expected, _ = sdpa_attention_forward(Layer(2), query, key, value, mask[:1].expand(3, -1, -1, -1))
    assert torch.allclose(attend(Layer(2), query, key, value, mask[:1])[0], expected, atol=2e-6)


def test_without_a_mask_it_is_causal() -> None:
    query, key, value, _ = problem(2, 4, 2, 5)
    expected, _ = sdpa_attention_forward(Layer(2), query, key[:, :, :5], value[:, :, :5], None)
    found, _ = attend(Layer(2), query, key[:, :, :5], value[:, :, :5], None)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("more", [{"softcap": 30.0}, {"position_bias": torch.zeros(1, 4, 5, WIDTH)}, {}])
def test_what_a_mask_cannot_say_is_left_to_the_library(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []

    def library(*inputs: Any, **kwargs: Any) -> tuple[Tensor, None]:
        given.append(kwargs)
        return torch.zeros(1), None

    monkeypatch.setattr(attention, "sdpa_attention_forward", library)
    attend(Layer(1), *problem(2, 4, 4, 5), scaling=0.3, sliding_window=8, **more)
    assert given == ([{"dropout": 0.0, "scaling": 0.3, "sliding_window": 8, **more}] if more else [])


@pytest.mark.parametrize("kept", [4, 2])
def test_a_boolean_mask_is_no_number(kept: int) -> None:
    query, key, value, mask = problem(3, 4, kept, 5)
    layer = Layer(4 // kept)
    expected, _ = sdpa_attention_forward(layer, query, key, value, mask)
    assert torch.allclose(attend(layer, query, key, value, mask == 0)[0], expected, atol=2e-6)


def test_models_with_their_own_masks_attend_correctly() -> None:
    tokens, padded = torch.randint(3, 90, (2, 14)), torch.ones(2, 14, dtype=torch.long)
    padded[0, :4] = 0
    for architecture, mask in (("mistral", None), ("gemma3", None), ("llama", padded)):
        plain, served = tiny_model(architecture), tiny_model(architecture)
        use_few_queries(served)
        with torch.inference_mode():
            expected, found = (m(tokens, attention_mask=mask).logits[:, 4:] for m in (plain, served))
        assert (expected - found).abs().max() < 1e-4


@pytest.mark.parametrize("architecture", ALL)
def test_every_architecture_answers_the_same(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts, single steps, chunks and a rollback, of sequences of different length."""
    ways: list[str] = []
    few = attention.plain_products

    def counted(*inputs: Any) -> Tensor:
        ways.append("few")
        return few(*inputs)

    monkeypatch.setattr(attention, "plain_products", counted)
    found = []
    for short in (False, True):
        model = tiny_model(architecture)
        if short:
            use_few_queries(model)
            assert model.config._attn_implementation == NAME
        group = AlikeRows(model, ["a", "b"], batch=2)
        prompts = [[[3, 5, 7] * 7, [4] * 20], [[9, 8, 7], [6, 5, 4, 3]]]
        group.prefill(prompts)
        steps = [group.score(torch.tensor([[[1, 2, 3, 4]], [[5, 6, 7, 8]]])).log_probs]
        group.commit([4, 2], [[11], [12]])
        steps += [group.score(torch.zeros(2, 1, 0, dtype=torch.long)).log_probs]
        found.append(steps)
        assert bool(ways) == short
    for plain, served in zip(*found, strict=True):
        assert (plain - served).abs().max() < 2e-5


def test_it_is_installed_on_supported_models() -> None:
    assert load_model("mpg-tiny").config._attn_implementation == "sdpa"
    assert load_prepared(ModelOptions(device="cpu")).config._attn_implementation == NAME


def test_a_folded_copy_keeps_it() -> None:
    model = tiny_model("llama")
    use_few_queries(model)
    copy: Any = fold(model, ())
    assert (
        copy.config._attn_implementation == copy.model.layers[0].self_attn.config._attn_implementation == NAME
    )


def test_another_attention_stays() -> None:
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    use_few_queries(model)
    assert model.config._attn_implementation == "eager"
