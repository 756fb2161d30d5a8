"""Weights in the blocks of the CPU's bfloat16 kernels: the same numbers, and the rest of the engine on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpg_cli.models.adapter import check_fit, read_adapter
from mpg_cli.models.fold import fold
from mpg_cli.models.lora import LoraBank
from mpg_cli.models.prepacked import PrepackedLinear, available, dense, is_prepacked, packed, prepack
from mpg_cli.models.rows import RowGroup
from mpg_cli.tuning.key import weights_digest
from tests.models.tiny import ALL, log_probs, random_tokens, tiny_adapter, tiny_model

pytestmark = pytest.mark.skipif(not available(), reason="this CPU or torch has no bfloat16 kernels of oneDNN")


def half(architecture: str = "llama") -> Any:
    return tiny_model(architecture).to(torch.bfloat16)


@pytest.mark.parametrize("architecture", ALL)
def test_logits_are_the_same_to_the_last_bit(architecture: str) -> None:
    plain, blocks = half(architecture), half(architecture)
    prepack(blocks)
    # GPT-2 has no nn.Linear but its head, which shares its weight with the embedding.
    assert is_prepacked(blocks) == (architecture != "gpt2")
    for rows, length in ((1, 1), (2, 7), (6, 1), (6, 17)):
        tokens = random_tokens(rows, length)
        assert torch.equal(log_probs(blocks, tokens), log_probs(plain, tokens))


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
        assert torch.equal(model(inputs), exact.bfloat16())
    else:
        assert torch.equal(model(inputs), before)


def test_a_weight_comes_back_as_it_was() -> None:
    weight = torch.randn(80, 48).bfloat16()
    blocks = packed(weight)
    assert blocks.shape == weight.shape
    assert blocks.nbytes == weight.nbytes
    assert torch.equal(dense(blocks), weight)
    assert dense(weight) is weight


def test_float32_and_shared_weights_stay_plain() -> None:
    model = tiny_model("llama")
    prepack(model)
    assert not is_prepacked(model)
    tied = half("qwen3")
    prepack(tied)
    assert type(tied.lm_head) is nn.Linear
    assert tied.lm_head.weight is tied.get_input_embeddings().weight


def test_stacks_folds_and_rows_are_those_of_the_plain_model(tmp_path: Path) -> None:
    plain, blocks = half(), half()
    prepack(blocks)
    adapters = [read_adapter(tiny_adapter(tmp_path / str(seed), "llama", seed=seed), "x") for seed in (1, 2)]
    found = []
    for model in (plain, blocks):
        for adapter in adapters:
            check_fit(adapter, model)
        bank = LoraBank.of(model)
        bank.add("experts", [[(adapter, 1.0)] for adapter in adapters])
        group = RowGroup(model, ["reference", "a", "b"], bank=bank, stack="experts")
        group.prefill([[[3, 5, 7, 9]] * 3])
        group.extend(torch.tensor([[[4, 6]]]))
        group.commit([1], [[8]])
        scored = group.extend(torch.tensor([[[10, 11, 12]]]))
        folded = fold(model, [(adapter, 0.5) for adapter in adapters])
        found.append((scored, log_probs(folded, random_tokens()), is_prepacked(folded)))
    (of_plain, fold_of_plain, no), (of_blocks, fold_of_blocks, yes) = found
    assert torch.equal(of_plain, of_blocks)
    assert torch.equal(fold_of_plain, fold_of_blocks)
    assert (no, yes) == (False, True)


def test_the_digest_of_the_weights_does_not_depend_on_their_layout() -> None:
    plain, blocks = half(), half()
    prepack(blocks)
    assert weights_digest(plain) == weights_digest(blocks)


def test_a_copy_of_a_weight_in_an_adapter_is_compared_by_value(tmp_path: Path) -> None:
    model = half()
    name = "model.layers.0.mlp.up_proj"
    weight = dict(model.named_modules())[name].weight.clone()
    prepack(model)
    assert torch.equal(dense(dict(model.named_parameters())[f"{name}.weight"]), weight)
