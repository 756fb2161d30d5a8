"""Weights in the blocks of the CPU's kernels: the same numbers, and the rest of the engine on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.fast.prepacked import (
    MANY,
    CopiedLinear,
    PrepackedLinear,
    available,
    packed,
    prepack,
)
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.load.loader import load_model, weights_digest
from mpg_cli.models.run.fold import fold
from tests.support.adapters import edited_tensors, tiny_adapter
from tests.support.models import ALL, is_repacked, log_probs, random_tokens, tiny_model
from tests.support.rows import AlikeRows
from tests.support.tokenizers import word_tokenizer

in_bfloat16 = pytest.mark.skipif(not available(torch.bfloat16), reason="no bfloat16 kernels of oneDNN here")
in_float32 = pytest.mark.skipif(not available(torch.float32), reason="no float32 kernels of oneDNN here")


def half(architecture: str = "llama") -> Any:
    """A tiny model in bfloat16 whose biases are not all 0."""
    model = tiny_model(architecture)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    return model.to(torch.bfloat16)


@in_bfloat16
@pytest.mark.parametrize("architecture", ALL)
def test_logits_are_the_same_to_the_last_bit(architecture: str) -> None:
    plain, blocks = half(architecture), half(architecture)
    prepack(blocks)
    assert is_repacked(blocks)
    for rows, length in ((1, 1), (2, 7), (6, 1), (6, 17)):
        tokens = random_tokens(rows, length)
        assert torch.equal(log_probs(blocks, tokens), log_probs(plain, tokens))


@in_bfloat16
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_with_a_strided_input(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 80, bias=bias).bfloat16().requires_grad_(False)
    inputs = torch.randn(3, 5, 96).bfloat16()[:, 1:, :48]  # (3, 4, 48), strided
    before, exact = layer(inputs), nn.Linear.forward(layer.float(), inputs.float())
    prepack(model := nn.Sequential(layer.bfloat16()))
    assert type(layer) is PrepackedLinear
    if bias:  # the sum is rounded once and not twice
        assert (model(inputs) - exact).abs().max() <= (before - exact).abs().max()
    else:
        assert torch.equal(model(inputs), before)


@in_bfloat16
def test_a_weight_comes_back_as_it_was() -> None:
    weight = torch.randn(80, 48).bfloat16()
    blocks = packed(weight)
    assert blocks.shape == weight.shape
    assert blocks.nbytes == weight.nbytes
    assert torch.equal(blocks.to_dense(), weight)
    assert weight.to_dense() is weight


@in_float32
def test_in_float32_only_large_weights_are_packed() -> None:
    small, large = tiny_model("llama"), tiny_model("llama", vocab_size=2**13)  # the head has 2^18 numbers
    tokens = random_tokens(3, 9)
    before = log_probs(large, tokens)
    for model in (small, large):
        prepack(model)
    assert not is_repacked(small)
    assert type(small.lm_head) is nn.Linear
    assert type(large.lm_head) is PrepackedLinear
    found = [name for name, module in large.named_modules() if isinstance(module, PrepackedLinear)]
    assert found == ["lm_head"]
    assert (log_probs(large, tokens) - before).abs().max() < 1e-5


@in_float32
@pytest.mark.parametrize("bias", [False, True])
def test_a_plain_weight_is_multiplied_with_few_rows_and_with_many(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(96, 192, bias=bias).requires_grad_(False)
    inputs = torch.randn(3, MANY, 128)[:, 1:, :96]  # (3, MANY - 1, 96), strided
    exact = nn.functional.linear(
        inputs.double(), layer.weight.double(), layer.bias.double() if bias else None
    )
    before = layer(inputs[0])
    prepack(nn.Sequential(layer))
    assert type(layer) is CopiedLinear
    assert torch.equal(layer(inputs[0]), before)
    found = layer(inputs)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 1e-5


@in_float32
def test_an_adapter_fits_and_folds_with_plain_weights(tmp_path: Path) -> None:
    plain, served = tiny_model("llama"), tiny_model("llama")
    prepack(served, worth=1)
    adapter = read_adapter(tiny_adapter(tmp_path, "llama"), "x")
    tokens = random_tokens(8, 17)  # more than MANY
    folded = []
    for model in (plain, served):
        folded.append(fold(model, [(fit_adapter(adapter, model), 0.7)]))
    assert type(folded[1].model.layers[0].self_attn.q_proj) is CopiedLinear
    assert (log_probs(folded[0], tokens) - log_probs(folded[1], tokens)).abs().max() < 2e-5
    assert (log_probs(plain, tokens) - log_probs(folded[1], tokens)).abs().max() > 1e-2


@in_bfloat16
def test_a_head_that_shares_its_weight_leaves_the_embedding_alone() -> None:
    tied = half("qwen3")
    before = tied.lm_head.weight.clone()
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    prepack(tied)
    assert type(tied.lm_head) is CopiedLinear
    assert torch.equal(tied.lm_head.blocks.to_dense(), before)
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    assert torch.equal(tied.lm_head.weight, before)


@in_bfloat16
def test_a_head_with_a_sum_of_its_own_keeps_no_second_copy(tmp_path: Path) -> None:
    plain, tied = half("qwen3"), half("qwen3")
    prepack(tied)
    adapter = read_adapter(tiny_adapter(tmp_path, "qwen3"), "x")
    assert adapter.pairs.keys() >= {"lm_head"}
    folded = [fold(model, [(fit_adapter(adapter, model), 0.7)]) for model in (plain, tied)]
    assert type(folded[1].lm_head) is PrepackedLinear
    assert not list(folded[1].lm_head.buffers())
    assert type(tied.lm_head) is CopiedLinear
    tokens = random_tokens(3, 9)
    assert torch.equal(log_probs(folded[0], tokens), log_probs(folded[1], tokens))
    assert not torch.equal(log_probs(plain, tokens), log_probs(folded[1], tokens))


@in_bfloat16
def test_a_weight_that_two_layers_share_stays_plain() -> None:
    first, second = nn.Linear(8, 8).bfloat16(), nn.Linear(8, 8).bfloat16()
    second.weight = first.weight
    prepack(nn.Sequential(first, second, nn.Linear(8, 8)))
    assert type(first) is type(second) is nn.Linear
    assert second.weight is first.weight


@in_bfloat16
def test_an_adapters_copy_of_a_weight_is_compared_by_value(tmp_path: Path) -> None:
    folder, model = tiny_adapter(tmp_path / "pirate", targets=["lm_head"]), half()
    prepack(model)
    adapter = fit_adapter(read_adapter(folder, "pirate"), model)
    assert adapter.copies.keys() >= {"lm_head.weight"}
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.lm_head.base_layer.weight"] += 0.1
    with pytest.raises(AdapterError, match="has a version that differs from the base"):
        fit_adapter(read_adapter(folder, "pirate"), model)


@in_bfloat16
def test_stacks_folds_and_rows_are_those_of_the_plain_model(tmp_path: Path) -> None:
    plain, blocks = half(), half()
    prepack(blocks)
    adapters = [read_adapter(tiny_adapter(tmp_path / str(seed), "llama", seed=seed), "x") for seed in (1, 2)]
    found = []
    for model in (plain, blocks):
        adapters = [fit_adapter(adapter, model) for adapter in adapters]
        rows = [[(adapter, 1.0)] for adapter in adapters]
        group = AlikeRows(model, ["reference", "a", "b"], adapters=rows)
        group.prefill([[[3, 5, 7, 9]] * 3])
        group.score(torch.tensor([[[4, 6]]]))
        group.commit([1], [[8]])
        scored = group.score(torch.tensor([[[10, 11, 12]]])).log_probs
        folded = fold(model, [(adapter, 0.5) for adapter in adapters])
        found.append((scored, log_probs(folded, random_tokens()), is_repacked(folded)))
    (of_plain, fold_of_plain, no), (of_blocks, fold_of_blocks, yes) = found
    assert torch.equal(of_plain, of_blocks)
    assert torch.equal(fold_of_plain, fold_of_blocks)
    assert (no, yes) == (False, True)


@in_float32
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_digest_of_the_weights_does_not_depend_on_their_layout(dtype: str) -> None:
    """The bundled model's head shares its weight with the embedding, and is packed in both."""
    plain, blocks = (load_model("mpg-tiny", dtype=dtype) for _ in range(2))
    prepack(blocks.model)  # before anybody has asked for its digest
    assert is_repacked(blocks.model) == available(plain.dtype.value)
    assert weights_digest(plain.model) == weights_digest(blocks.model)
    sizes = [sum(p.numel() for p in one.model.parameters()) for one in (plain, blocks)]
    assert sizes[0] == sizes[1]


@in_bfloat16
def test_the_file_is_let_go_of(tmp_path: Path) -> None:
    """What is not packed is copied, else the whole file stays in memory beside the blocks."""
    half().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), dtype="bfloat16")
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    places = {name: p.data_ptr() for name, p in loaded.model.named_parameters()}
    prepack(loaded.model)
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter.to_dense(), before[name])
        assert parameter.is_mkldnn or parameter.data_ptr() != places[name]
