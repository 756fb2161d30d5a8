"""Reading PEFT adapters: what is accepted, and one clear error for everything else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.lora import LoraBank
from tests.support.adapters import edit_config, edited_tensors, tiny_adapter
from tests.support.models import tiny_config, tiny_model
from tests.support.tokenizers import word_tokenizer

WEIGHTS = "adapter_model.safetensors"
Q = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter of rank 4 on q_proj and v_proj of the tiny Llama."""
    return tiny_adapter(tmp_path / "pirate", targets=["q_proj", "v_proj"])


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model()


def refused(folder: Path, model: nn.Module | None = None) -> str:
    """The error's text, which must name the adapter."""
    if model is None:
        with pytest.raises(AdapterError) as caught:
            read_adapter(folder, "pirate")
    else:
        adapter = read_adapter(folder, "pirate")
        with pytest.raises(AdapterError) as caught:
            fit_adapter(adapter, model)
    assert "pirate" in caught.value.message
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def fits(folder: Path, model: nn.Module) -> Adapter:
    return fit_adapter(read_adapter(folder, "pirate"), model)


# What is read


def test_pairs_carry_module_names_and_scales(folder: Path, llama: Any) -> None:
    adapter = fits(folder, llama)
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
    pairs = fits(folder, llama).pairs
    name = "model.layers.{}.self_attn.{}_proj"
    assert pairs[name.format(0, "q")].scale == 8 / 2
    assert pairs[name.format(1, "q")].scale == 8 / 3
    assert pairs[name.format(0, "v")].scale == 6 / 4
    assert pairs[name.format(2, "v")].scale == 5 / 4


def test_rank_stabilised_scale(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(
        tmp_path / "pirate", r=4, lora_alpha=8, use_rslora=True, rank_pattern={"up_proj": 2}
    )
    pairs = fits(folder, llama).pairs
    assert pairs["model.layers.0.mlp.up_proj"].scale == 8 / math.sqrt(2)
    assert pairs["model.layers.0.mlp.down_proj"].scale == 8 / 2


def test_the_fingerprint_follows_configuration_and_weights(folder: Path) -> None:
    before = read_adapter(folder, "a").fingerprint
    assert read_adapter(folder, "b").fingerprint == before
    edit_config(folder, {"lora_alpha": 9})
    after_config = read_adapter(folder, "a").fingerprint
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_A.weight"] += 1
    assert len({before, after_config, read_adapter(folder, "a").fingerprint}) == 3


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
    adapter = fits(tiny_adapter(tmp_path / "pirate", targets=targets, **fields), llama)
    assert adapter.pairs


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "phi3"])
def test_all_linear_on_other_layouts(architecture: str, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", architecture, targets="all-linear")
    adapter = fits(folder, tiny_model(architecture))
    assert not any("lm_head" in name or "embed_out" in name for name in adapter.pairs)


def test_a_model_taken_over_by_a_bank_is_checked_the_same(folder: Path, tmp_path: Path) -> None:
    model = tiny_model()
    bank = LoraBank(model)
    bank.add("a", [[(fits(tiny_adapter(tmp_path / "all", targets="all-linear"), model), 1.0)]])
    fits(folder, model)
    fits(tmp_path / "all", model)
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "o_proj"]})
    assert "layers.{0-2}.self_attn.o_proj" in refused(folder, model)


def test_a_copy_of_the_bases_own_head_is_accepted_and_another_is_not(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["lm_head"])
    assert fits(folder, llama).copies.keys() >= {"lm_head.weight"}
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.lm_head.base_layer.weight"] += 1e-3
    assert "lm_head.weight: the file has a version that differs from the base" in refused(folder, llama)


def test_a_copy_is_compared_in_the_coarser_dtype(tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["lm_head"])
    assert fits(folder, tiny_model().to(torch.bfloat16)).copies


# Files


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "pirate")


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    assert "is a file, not an adapter folder" in refused(folder / WEIGHTS)


def test_a_full_model_instead_of_an_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "pirate"
    tiny_config("llama").save_pretrained(folder)
    text = refused(folder)
    assert "has no adapter_config.json" in text
    assert "checkpoint" in text


def test_adapters_in_subfolders_are_pointed_out(folder: Path) -> None:
    text = refused_parent = refused(folder.parent)
    assert refused_parent.startswith("adapter pirate")
    assert "subfolders have adapters: pirate" in text


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "has no adapter_model.safetensors" in refused(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    text = refused(folder)
    assert "pickle" in text
    assert "convert it" in text


@pytest.mark.parametrize("keep", [0, 4, 60, 0.5, 0.999])
def test_truncated_weights(folder: Path, keep: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    assert "truncated or damaged" in refused(folder)


def test_a_git_lfs_pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    assert "Git LFS pointer" in refused(folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"x"', "{" * 100_000, '{"a":' * 100_000, "\xff"])
def test_a_configuration_that_is_no_json_object(folder: Path, content: str) -> None:
    (folder / "adapter_config.json").write_bytes(content.encode("latin-1"))
    assert "adapter_config.json" in refused(folder)


# Kinds of adapters


def test_a_real_dora_adapter_is_refused(tmp_path: Path) -> None:
    text = refused(tiny_adapter(tmp_path / "pirate", targets=["q_proj"], use_dora=True))
    assert "use_dora is true" in text
    assert "lora_magnitude_vector" in text


def test_a_real_embedding_target_is_refused(tmp_path: Path) -> None:
    text = refused(tiny_adapter(tmp_path / "pirate", targets=["q_proj", "embed_tokens"]))
    assert "adapts an embedding; not implemented" in text


def test_modules_trained_as_a_whole_are_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"], modules_to_save=["lm_head"])
    fits(folder, llama)  # an unchanged head is the base's own
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
    fits(folder, llama)
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
    assert fits(tiny_adapter(tmp_path / "pirate"), loaded.model).pairs


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_that_were_trained_are_decided_by_the_file(bias: str, tmp_path: Path, llama: Any) -> None:
    assert fits(tiny_adapter(tmp_path / "plain", bias=bias), llama).pairs  # a base without biases
    qwen = tiny_model("qwen2")
    folder = tiny_adapter(tmp_path / "pirate", "qwen2", bias=bias)
    assert fits(folder, qwen).copies  # never trained: the base's own
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.model.layers.1.self_attn.q_proj.base_layer.bias"] += 0.1
    text = refused(folder, qwen)
    assert "model.layers.1.self_attn.q_proj.bias: the file has a version that differs from the base" in text


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"])
def test_a_classifiers_head_decides_about_a_classifier(task: str, tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"])
    edit_config(folder, {"task_type": task, "modules_to_save": ["classifier", "score", "qa_outputs"]})
    fits(folder, llama)
    with edited_tensors(folder) as tensors:
        tensors["base_model.model.score.weight"] = torch.zeros(2, 32)
    assert "score.weight: the model has no such weight" in refused(folder, llama)


# Tensors


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_must_be_finite(folder: Path, value: float) -> None:
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_B.weight"][3, 1] = value
    assert f"{Q}.lora_B.weight: has values that are NaN or infinite" in refused(folder)


def test_integers_are_refused(folder: Path) -> None:
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_B.weight"] = tensors[f"{Q}.lora_B.weight"].to(torch.int8)
    assert "has dtype int8" in refused(folder)


@pytest.mark.parametrize("key", ["stray", f"{Q}.unknown", f"{Q}.lora_B.bias"])
def test_every_tensor_must_have_a_use(folder: Path, key: str) -> None:
    with edited_tensors(folder) as tensors:
        tensors[key] = torch.zeros(2, 2)
    assert key in refused(folder)


def test_a_tensor_that_is_there_twice(folder: Path) -> None:
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_A.default.weight"] = torch.zeros(4, 32)
    text = refused(folder)
    assert "the file has a second lora_A of model.layers.1.self_attn.q_proj" in text
    assert "holds several adapters: 'default', an unnamed one" in text


def test_a_half_pair(folder: Path) -> None:
    with edited_tensors(folder) as tensors:
        del tensors[f"{Q}.lora_B.weight"]
    assert "model.layers.1.self_attn.q_proj: lora_B is missing" in refused(folder)


def test_the_rank_of_the_configuration_holds(folder: Path) -> None:
    edit_config(folder, {"r": 8})
    assert "but the configuration gives rank 8" in refused(folder)


def test_a_and_b_must_meet(folder: Path) -> None:
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_B.weight"] = torch.zeros(32, 5)
    assert "lora_A is (4, 32), lora_B is (32, 5)" in refused(folder)


def test_a_file_without_tensors(folder: Path) -> None:
    with edited_tensors(folder) as tensors:
        tensors.clear()
    assert "holds no LoRA tensors" in refused(folder)


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
    fits(folder, model)
    edit_config(folder, {"target_modules": ["q_proj", "v_proj", "gate_proj"]})
    with edited_tensors(folder) as tensors:
        for expert in range(4):
            name = f"base_model.model.model.layers.0.mlp.experts.{expert}.gate_proj"
            tensors[f"{name}.lora_A.weight"] = torch.zeros(4, 32)
            tensors[f"{name}.lora_B.weight"] = torch.zeros(16, 4)
    assert "adapts an expert of a mixture-of-experts layer" in refused(folder, model)


def test_everything_wrong_comes_in_one_error(folder: Path) -> None:
    edit_config(folder, {"use_dora": True, "novelty": 1})
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_A.weight"][0, 0] = math.nan
        tensors["stray"] = torch.zeros(1)
        del tensors[f"{Q}.lora_B.weight"]
    text = refused(folder)
    for part in ("use_dora", "novelty", "NaN", "stray", "lora_B is missing"):
        assert part in text


def test_a_long_list_is_cut(folder: Path) -> None:
    edit_config(folder, {f"novelty_{i}": i + 1 for i in range(30)})
    assert "… and 10 more" in refused(folder)
