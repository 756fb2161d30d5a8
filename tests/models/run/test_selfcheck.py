"""An architecture outside the tested list is checked before it is used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mpg_cli.errors import ModelError, NumericsError
from mpg_cli.models.run.forward import position_bytes
from mpg_cli.models.run.selfcheck import check_rows
from tests.support.models import SIZES, tiny_model


def untested(model_type: str, **fields: Any) -> Any:
    config = CONFIG_MAPPING[model_type](**(SIZES | fields))
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()


LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
}
NANO = {
    "num_hidden_layers": 4,
    "intermediate_size": [48] * 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "activation_sparsity_pattern": [0.0] * 4,
    "sliding_window": 8,
    "head_dim": 8,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 90,
}


@pytest.mark.parametrize(
    ("model_type", "fields", "layers"),
    [
        ("olmo2", {}, 3 * 2 * 2 * 8),
        ("starcoder2", {}, 3 * 2 * 2 * 8),
        ("granite", {}, 3 * 2 * 2 * 8),
        ("deepseek_v3", LATENT, 3 * (16 + 8)),  # what keys and values are made of
        ("gemma3n_text", NANO, 2 * 2 * 2 * 8),  # two layers of four have keys of their own
    ],
)
def test_other_architectures_that_work_are_served(
    model_type: str, fields: dict[str, Any], layers: int
) -> None:
    """`layers` is the numbers that one position takes in all layers."""
    model = untested(model_type, **fields)
    check_rows(model, "m")
    assert position_bytes(model) == 4 * layers


def test_wrong_positions_are_noticed() -> None:
    model = tiny_model("llama")
    check_rows(model, "m", tested=())
    model.register_forward_pre_hook(
        lambda model, args, kwargs: (args, kwargs | {"position_ids": None}), with_kwargs=True
    )
    with pytest.raises(ModelError, match="cannot be served exactly"):
        check_rows(model, "m", tested=())


def test_what_breaks_is_refused() -> None:
    model = tiny_model("llama")

    def refuse(*args: Any) -> None:
        raise TypeError("unexpected mask")

    model.register_forward_pre_hook(refuse)
    with pytest.raises(ModelError, match="unexpected mask"):
        check_rows(model, "m", tested=())


def test_nan_does_not_pass_for_close() -> None:
    """NaN without the cache only: the rows themselves are finite."""
    model = untested("olmo2")

    def spoil(model: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not kwargs["use_cache"]:
            output.logits.fill_(float("nan"))

    model.register_forward_hook(spoil, with_kwargs=True)
    with pytest.raises(ModelError, match="cannot be served exactly"):
        check_rows(model, "m")


def test_nan_is_named() -> None:
    model = untested("olmo2")
    with torch.no_grad():
        model.lm_head.weight[0] = float("nan")
    with pytest.raises(NumericsError, match="NaN in the row of reference"):
        check_rows(model, "m")


def test_sliding_windows_are_checked_on_sequences_that_outgrow_them() -> None:
    model = untested("starcoder2", sliding_window=100)
    check_rows(model, "m")
    assert model.config.sliding_window == 100
    blind = untested("olmo2")  # its layers see everything, whatever the configuration says
    blind.config.sliding_window = 100
    with pytest.raises(ModelError, match="cannot be served exactly"):
        check_rows(blind, "m")
