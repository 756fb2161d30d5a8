"""Spellings of keys that adapters in the field have: each means the module that its trainer meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpg_cli.personas.adapter_names import Names, parse_key
from tests.support.adapters import (
    PREFIX,
    edit_config,
    edited_tensors,
    fitted,
    refused,
    respelled,
    served,
    swap,
    tiny_adapter,
)
from tests.support.models import (
    log_probs,
    random_tokens,
    tiny_config,
    tiny_model,
)


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model()


LLAMA = {
    "the adapter's name": swap(".weight", ".default.weight"),
    "another name": lambda key: key.replace(".weight", ".pirate.weight"),
    "loralib's": lambda key: key.removesuffix(".weight"),
    "loralib's with a name": lambda key: key.replace(".weight", ".default"),
    "no prefix": swap(PREFIX, ""),
    "trained as AutoModel": swap(PREFIX + "model.", PREFIX),
    "AutoModel, no prefix": swap(PREFIX + "model.", ""),
    "PEFT in PEFT": swap(PREFIX, PREFIX + PREFIX),
    "base_model alone": swap(PREFIX, "base_model."),
    "torch.compile around": lambda key: f"_orig_mod.{key}",
    "torch.compile within": swap(PREFIX, PREFIX + "_orig_mod."),
    "torch.compile a layer": swap(".self_attn.", "._orig_mod.self_attn."),
    "DDP": lambda key: f"module.{key}",
    "DDP within": swap(PREFIX, PREFIX + "module."),
    "FSDP": lambda key: key.replace("layers.1.", "layers.1._fsdp_wrapped_module."),
    "checkpointed": lambda key: key.replace("self_attn.", "_checkpoint_wrapped_module.self_attn."),
    "multimodal": swap(PREFIX + "model.", PREFIX + "model.language_model."),
    "multimodal before 4.52": swap(PREFIX + "model.", PREFIX + "language_model.model."),
    "InternVL": swap(PREFIX + "model.", PREFIX + "llm.model."),
    "TRL with a value head": swap(PREFIX, "pretrained_model." + PREFIX),
}


@pytest.mark.parametrize("spelling", LLAMA)
def test_every_spelling_means_the_same_modules(spelling: str, tmp_path: Path, llama: Any) -> None:
    plain = fitted(
        tiny_adapter(tmp_path / "a", rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\..*": 3}), llama
    )
    found = fitted(
        respelled(
            tiny_adapter(tmp_path / "b", rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\..*": 3}),
            LLAMA[spelling],
        ),
        llama,
    )
    assert found.pairs.keys() == plain.pairs.keys()
    for name, pair in plain.pairs.items():
        assert torch.equal(found.pairs[name].a, pair.a)
        assert torch.equal(found.pairs[name].b, pair.b)
        assert found.pairs[name].scale == pair.scale


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_a_body_of_another_name_is_a_wrapper_too(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    plain = fitted(tiny_adapter(tmp_path / "a", architecture), model).pairs.keys()
    body = f"{PREFIX}{model.base_model_prefix}."
    assert fitted(respelled(tmp_path / "a", swap(body, PREFIX)), model).pairs.keys() == plain


def test_an_adapter_trained_on_the_body_alone_is_pefts(tmp_path: Path) -> None:
    """AutoModel has no head: task type FEATURE_EXTRACTION, names without `model.`"""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModel

    tokens = random_tokens()
    body = AutoModel.from_config(tiny_config("llama"))
    folder = tiny_adapter(tmp_path / "a", base=body, task_type="FEATURE_EXTRACTION")
    assert "base_model.model.layers.0.self_attn.q_proj.lora_A.weight" in load_file(
        folder / "adapter_model.safetensors"
    )
    oracle = tiny_model()
    oracle.model = PeftModel.from_pretrained(oracle.model, str(folder)).merge_and_unload()
    assert (served(folder, tiny_model(), tokens) - log_probs(oracle, tokens)).abs().max() < 1e-5


def test_an_output_layer_called_decoder_is_not_the_body(tmp_path: Path) -> None:
    """Of ModernBERT's decoder `get_decoder` gives the output layer: no layer would have to be in the file."""
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    ids = {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1}
    config = ModernBertDecoderConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, vocab_size=96, **ids
    )
    model = ModernBertDecoderForCausalLM(config).eval().requires_grad_(False)
    folder = tiny_adapter(tmp_path, base=model, targets=("q_proj", "Wi", "Wo"))
    assert len(fitted(folder, model).pairs) == 12
    with edited_tensors(folder) as tensors:
        for key in [key for key in tensors if ".layers.2." in key]:
            del tensors[key]
    assert "layers.2.attn.q_proj: target_modules selects it, but the file has no tensors" in refused(
        folder, model
    )


def test_an_adapter_may_be_called_after_pictures(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    respelled(folder, lambda key: key.replace(".weight", ".image_critic.weight"))
    assert len(fitted(folder, llama).pairs) == 3


NAME = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern, spell",
    [
        (NAME, lambda key: key),
        (r"model\.layers\.1\.self_attn\.q_proj", lambda key: key),
        (f"_orig_mod.{NAME}", swap(PREFIX, PREFIX + "_orig_mod.")),
        (rf"_orig_mod\.{NAME}", swap(PREFIX, PREFIX + "_orig_mod.")),
        (f"module.{NAME}", swap(PREFIX, PREFIX + "module.")),
        (NAME.replace(".self", "._fsdp_wrapped_module.self"), lambda key: key),
    ],
)
def test_patterns_lose_what_frameworks_put_around_modules(
    pattern: str, spell: Callable[[str], str], tmp_path: Path, llama: Any
) -> None:
    folder = respelled(tiny_adapter(tmp_path / "a", targets=["q_proj"], r=4, lora_alpha=8), spell)
    edit_config(folder, {"alpha_pattern": {pattern: 64}})
    scales = {name: pair.scale for name, pair in fitted(folder, llama).pairs.items()}
    assert scales == {NAME.replace("1", str(layer)): 16 if layer == 1 else 2 for layer in range(3)}


@pytest.mark.parametrize("field", ["alpha_pattern", "rank_pattern"])
@pytest.mark.parametrize("pattern", [r"model.language_model.layers.1.self_attn.q_proj", "attention.wq"])
def test_a_pattern_that_lost_its_module_is_refused(
    pattern: str, field: str, tmp_path: Path, llama: Any
) -> None:
    """A converter that renames the keys alone leaves the configuration with the old names."""
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    edit_config(folder, {field: {pattern: 4}})
    text = refused(folder, llama)
    assert f"has a rank or alpha for '{pattern}', but the file has no such module" in text
    assert "spell the pattern like its module in adapter_model.safetensors" in text


@pytest.mark.parametrize("pattern", ["k_proj", r"layers\.2\.mlp.*", "vision_tower.*q_proj"])
def test_a_pattern_for_modules_that_are_not_adapted_changes_nothing(
    pattern: str, tmp_path: Path, llama: Any
) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    edit_config(folder, {"rank_pattern": {pattern: 2}})
    assert {pair.scale for pair in fitted(folder, llama).pairs.values()} == {2}


def test_a_name_that_two_modules_could_have_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.language_model = tiny_model().model, tiny_model().model

    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    text = refused(respelled(folder, swap(PREFIX + "model.", "llm.")), Two())
    assert "can be model.layers.0.self_attn.q_proj or language_model.layers.0.self_attn.q_proj" in text


def test_one_module_under_two_names_is_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        for key, tensor in [*tensors.items()]:
            tensors[key.replace(PREFIX + "model.", PREFIX + "language_model.model.")] = tensor.clone()
    assert "the file has tensors for it under another name as well" in refused(folder, llama)


def test_two_adapters_in_a_file_are_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj", "v_proj"])
    respelled(folder, lambda key: key.replace(".weight", ".one.weight" if "q_proj" in key else ".weight"))
    assert "holds several adapters: 'one', an unnamed one" in refused(folder, llama)
    with edited_tensors(folder) as tensors:
        for key, tensor in [*tensors.items()]:
            tensors[key.replace(".one.", ".two.")] = tensor.clone()
    text = refused(folder, llama)
    assert "the file has a second lora_A of model.layers.0.self_attn.q_proj" in text


@pytest.mark.parametrize(
    "key, words",
    [
        ("lora_unet_mid_block_attn_to_q.lora_down.weight", "for image models (kohya, diffusers)"),
        ("text_model.encoder.layers.0.self_attn.q_proj.lora.up.weight", "for image models"),
        ("model.layers.0.self_attn.q_proj.lora_a", "layout of MLX"),
        ("model.layers.0.self_attn.q_proj.lora_B.bias", "unknown tensor"),
        ("model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight", "unknown tensor"),
    ],
)
def test_tensors_of_other_kinds_are_distinguished(key: str, words: str, tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        tensors[key] = torch.zeros(4, 4)
    assert words in refused(folder, llama)


def test_an_empty_tensor_is_reported_with_its_origin(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        for key in tensors:
            tensors[key] = torch.zeros(0)
    assert "is empty; save the adapter again with its weights gathered" in refused(folder, llama)


@pytest.mark.parametrize(
    "key, name",
    [
        (PREFIX + "lm_head.base_layer.weight", "lm_head.weight"),
        (PREFIX + "lm_head.modules_to_save.default.weight", "lm_head.weight"),
        (PREFIX + "lm_head.modules_to_save.weight", "lm_head.weight"),
        (PREFIX + "model.embed_tokens.original_module.weight", "model.embed_tokens.weight"),
        (PREFIX + "model.layers.0.self_attn.q_proj.base_layer.bias", "model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_whole_weights_are_called_as_the_model_calls_them(key: str, name: str) -> None:
    assert parse_key(key).name == name


def test_the_last_part_of_a_name_is_never_a_wrapper() -> None:
    names = Names(["model", "model.layers.0.mlp", "lm_head", ""])
    assert names.split("model") == ("", "model")
    assert names.split("base_model.model.lm_head") == ("base_model.model.", "lm_head")
    assert names.find("model.model.layers.0.mlp") == ["model.layers.0.mlp"]
    assert names.find("layers.0") == []


def test_a_copy_whose_name_two_weights_could_have_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.language_model = tiny_model().model, tiny_model().model

    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"], modules_to_save=["norm"])
    wanted = "norm.weight: can be model.norm.weight or language_model.norm.weight of the model"
    assert wanted in refused(respelled(folder, swap(PREFIX + "model.", "llm.")), Two())
