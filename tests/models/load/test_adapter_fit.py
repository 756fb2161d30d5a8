"""Adapters and the model they are for: what fits, and one clear error for everything else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.models.run.lora_bank import LoraBank
from tests.support.adapters import edit_config, edited_tensors, fitted, refused, tiny_adapter
from tests.support.models import tiny_model
from tests.support.tokenizers import word_tokenizer

Q = "base_model.model.model.layers.1.self_attn.q_proj"


# What fits


def test_pairs_carry_module_names_and_scales(folder: Path, llama: Any) -> None:
    adapter = fitted(folder, llama)
    assert len(adapter.pairs) == 6  # 3 layers
    pair = adapter.pairs["model.layers.1.self_attn.q_proj"]
    assert (pair.a.shape, pair.b.shape, pair.scale) == ((4, 32), (32, 4), 2.0)
    assert adapter.label == "pirate"
    assert adapter.path == folder


def test_rank_and_alpha_patterns_first_match_wins(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(
        tmp_path / "pirate",
        r=4,
        lora_alpha=8,
        targets=["q_proj", "v_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2, "q_proj": 3},
        alpha_pattern={r"layers\.[12]\..*v_proj": 5, "v_proj": 6},
    )
    pairs = fitted(folder, llama).pairs
    name = "model.layers.{}.self_attn.{}_proj"
    assert pairs[name.format(0, "q")].scale == 8 / 2
    assert pairs[name.format(1, "q")].scale == 8 / 3
    assert pairs[name.format(0, "v")].scale == 6 / 4
    assert pairs[name.format(2, "v")].scale == 5 / 4


def test_rank_stabilised_scale(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(
        tmp_path / "pirate", r=4, lora_alpha=8, use_rslora=True, rank_pattern={"up_proj": 2}
    )
    pairs = fitted(folder, llama).pairs
    assert pairs["model.layers.0.mlp.up_proj"].scale == 8 / math.sqrt(2)
    assert pairs["model.layers.0.mlp.down_proj"].scale == 8 / 2


@pytest.mark.parametrize(
    "targets, fields",
    [
        ("all-linear", {}),
        (r".*\.layers\.[02]\..*(q|v)_proj", {}),
        (["q_proj", "mlp.up_proj"], {"exclude_modules": ["layers.1.self_attn.q_proj"]}),
        (["q_proj", "up_proj"], {"exclude_modules": r".*up_proj"}),
        (["q_proj", "up_proj"], {"layers_to_transform": [0, 2]}),
        (["q_proj"], {"layers_to_transform": 1, "layers_pattern": "layers"}),
        (["model.layers.2.mlp.gate_proj"], {}),
        (["q_proj", "lm_head"], {}),
    ],
)
def test_targets_are_found_as_peft_finds_them(
    targets: Any, fields: dict[str, Any], tmp_path: Path, llama: Any
) -> None:
    adapter = fitted(tiny_adapter(tmp_path / "pirate", targets=targets, **fields), llama)
    assert adapter.pairs


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "phi3"])
def test_all_linear_on_other_layouts(architecture: str, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", architecture, targets="all-linear")
    adapter = fitted(folder, tiny_model(architecture))
    assert not any("lm_head" in name or "embed_out" in name for name in adapter.pairs)


def test_a_model_taken_over_by_a_bank_is_checked_the_same(folder: Path, tmp_path: Path) -> None:
    model = tiny_model()
    row = [(fitted(tiny_adapter(tmp_path / "all", targets="all-linear"), model), 1.0)]
    LoraBank.of(model).retain([row])
    fitted(folder, model)
    fitted(tmp_path / "all", model)
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "o_proj"]})
    assert "layers.{0-2}.self_attn.o_proj" in refused(folder, model)


def test_a_copy_of_the_bases_own_head_is_accepted_and_another_is_not(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["lm_head"])
    assert fitted(folder, llama).copies.keys() >= {"lm_head.weight"}
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.lm_head.base_layer.weight"] += 1e-3
    assert "lm_head.weight: the file has a version that differs from the base" in refused(folder, llama)


def test_a_copy_is_compared_in_the_coarser_dtype(tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["lm_head"])
    assert fitted(folder, tiny_model().to(torch.bfloat16)).copies


def test_modules_trained_as_a_whole_are_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"], modules_to_save=["lm_head"])
    fitted(folder, llama)  # an unchanged head is the base's own
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.lm_head.weight"] += 1e-3
    text = refused(folder, llama)
    assert "lm_head.weight: the file has a version that differs from the base" in text
    assert "merge it into its base" in text
    with edited_tensors(folder) as tensors:
        del tensors["base_model.model.lm_head.weight"]
    assert "lm_head: modules_to_save names it, but the file has no weights for it" in refused(folder, llama)


def test_a_copy_that_was_cut_to_the_tokenizers_size_is_accepted(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"], modules_to_save=["embed_tokens"])
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.model.embed_tokens.weight"] = llama.model.embed_tokens.weight[:90]
    fitted(folder, llama)
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.model.embed_tokens.weight"] += 1e-3
    assert "embed_tokens.weight: the file has a version that differs from the base" in refused(folder, llama)


def test_tokens_added_in_training_are_named_with_what_to_do(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(
        tmp_path / "pirate", targets=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]
    )
    with edited_tensors(folder) as tensors:
        for name in ("model.embed_tokens", "lm_head"):
            key = f"base_model.model.{name}.weight"
            tensors[key] = torch.cat([tensors[key], torch.zeros(3, 32)])
    text = refused(folder, llama)
    assert "lm_head.weight: has 99 rows, the model 96: tokens were added in training" in text
    assert "merge it into its base with the embeddings resized" in text
    assert "give the folder as --model" in text


def test_added_tokens_are_found_by_a_lora_on_the_head_too(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj", "lm_head"])
    with edited_tensors(folder) as tensors:
        for key in [key for key in tensors if "embed" in key or "base_layer" in key]:
            del tensors[key]  # as with save_embedding_layers=False
        key = "base_model.model.lm_head.lora_B.weight"
        tensors[key] = torch.cat([tensors[key], torch.zeros(3, 4)])
    text = refused(folder, llama)
    assert "lm_head: lora_B has 99 rows, the model 96: tokens were added in training" in text
    assert "give the folder as --model" in text


def test_a_model_with_tokens_added_takes_adapters_of_its_base(tmp_path: Path) -> None:
    """What the hint above promises: merged, resized, saved with its tokenizer."""
    from mpg_cli.models.load.loader import load_model

    merged = tiny_model()
    merged.resize_token_embeddings(99)
    merged.save_pretrained(tmp_path / "merged")
    word_tokenizer(99).save_pretrained(tmp_path / "merged")
    loaded = load_model(str(tmp_path / "merged"), device="cpu")
    assert fitted(tiny_adapter(tmp_path / "pirate"), loaded.model).pairs


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_that_were_trained_are_decided_by_the_file(bias: str, tmp_path: Path, llama: Any) -> None:
    assert fitted(tiny_adapter(tmp_path / "plain", bias=bias), llama).pairs  # a base without biases
    qwen = tiny_model("qwen2")
    folder = tiny_adapter(tmp_path / "pirate", "qwen2", bias=bias)
    assert fitted(folder, qwen).copies  # never trained: the base's own
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.model.layers.1.self_attn.q_proj.base_layer.bias"] += 0.1
    text = refused(folder, qwen)
    assert "model.layers.1.self_attn.q_proj.bias: the file has a version that differs from the base" in text


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"])
def test_a_classifiers_head_decides_about_a_classifier(task: str, tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"])
    edit_config(folder, {"task_type": task, "modules_to_save": ["classifier", "score", "qa_outputs"]})
    fitted(folder, llama)
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.score.weight"] = torch.zeros(2, 32)
    assert "score.weight: the model has no such weight" in refused(folder, llama)


# The model


def test_an_adapter_of_another_width_names_both_shapes(tmp_path: Path, llama: Any) -> None:
    other = tiny_model(hidden_size=64)
    text = refused(tiny_adapter(tmp_path / "pirate", targets=["q_proj"], base=other), llama)
    assert "model.layers.{0-2}.self_attn.q_proj: lora_A is (4, 64) and lora_B (64, 4)" in text
    assert "the model needs (4, 32) and (32, 4)" in text


def test_an_adapter_of_a_deeper_model(tmp_path: Path, llama: Any) -> None:
    deeper = tiny_model(num_hidden_layers=5)
    text = refused(tiny_adapter(tmp_path / "pirate", targets=["q_proj"], base=deeper), llama)
    assert "model.layers.{3-4}.self_attn.q_proj: the model has no such module" in text


def test_an_adapter_of_a_shallower_model(tmp_path: Path, llama: Any) -> None:
    shallow = tiny_model(num_hidden_layers=2)
    text = refused(tiny_adapter(tmp_path / "pirate", targets=["q_proj"], base=shallow), llama)
    assert "model.layers.2.self_attn.q_proj: target_modules selects it, but the file has no tensors" in text


def test_an_adapter_of_another_architecture_names_its_base(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", "gpt2")
    edit_config(folder, {"base_model_name_or_path": "openai/gpt2"})
    text = refused(folder, llama)
    assert "transformer.h.{0-2}.attn.c_attn: the model has no such module" in text
    assert "names openai/gpt2" in text


def test_tensors_outside_target_modules(folder: Path, llama: Any) -> None:
    edit_config(folder, {"target_modules": ["q_proj"]})
    assert "v_proj: the file adapts it, but target_modules" in refused(folder, llama)


def test_a_selected_module_that_is_no_linear_layer(folder: Path, llama: Any) -> None:
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "mlp"]})
    assert "mlp: target_modules selects it, but it is of type LlamaMLP" in refused(folder, llama)


def test_lora_tensors_for_an_embedding_module(folder: Path, llama: Any) -> None:
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "embed_tokens"]})
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.model.embed_tokens.lora_A.weight"] = torch.zeros(4, 32)
        tensors["base_model.model.model.embed_tokens.lora_B.weight"] = torch.zeros(96, 4)
    assert "model.embed_tokens: is of type Embedding; only linear layers" in refused(folder, llama)


def test_experts_of_a_mixture_are_refused_and_its_attention_is_not(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from tests.support.models import SIZES

    config = CONFIG_MAPPING["qwen3_moe"](
        **SIZES, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    )
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    folder = tiny_adapter(tmp_path / "pirate", base=model, targets=["q_proj", "v_proj"])
    fitted(folder, model)
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "gate_proj"]})
    with edited_tensors(folder) as tensors:
        for expert in range(4):
            name = f"base_model.model.model.layers.0.mlp.experts.{expert}.gate_proj"
            tensors[f"{name}.lora_A.weight"] = torch.zeros(4, 32)
            tensors[f"{name}.lora_B.weight"] = torch.zeros(16, 4)
    assert "adapts an expert of a mixture-of-experts layer" in refused(folder, model)
