"""LoRA files in GGUF: equal to the PEFT adapters that they were made of, and one message for all others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.personas.adapter_gguf import ARCHITECTURES
from mpg_cli.personas.adapter_shapes import fits
from mpg_cli.personas.base import Base
from tests.support.adapters import peft_log_probs, tiny_adapter
from tests.support.gguf_models import write_file, write_lora, write_model
from tests.support.llama_cpp import LlamaCpp
from tests.support.models import log_probs, random_tokens, save_model, tiny_model, tiny_multimodal

# tiny model -> its architecture in llama.cpp, fields, target modules (None: those of the tiny model)
MODELS: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {
    "llama": ("llama", {}, None),
    "mistral": ("llama", {}, None),
    "qwen2": ("qwen2", {}, ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]),
    "qwen3": ("qwen3", {"tie_word_embeddings": False}, ["q_proj", "k_proj", "up_proj", "lm_head"]),
    "gemma3": ("gemma3", {"layer_types": ["sliding_attention"] * 3}, ["q_proj", "k_proj", "down_proj"]),
    "gemma4": ("gemma4", {}, None),
    "phi3": ("phi3", {}, None),
}

ROUGH = 5e-3  # llama.cpp looks the GELU of Gemma up in a table of 16-bit numbers


def made(folder: Path, name: str, **fields: Any) -> tuple[nn.Module, Path, Path]:
    """A tiny model, a random adapter of PEFT and the GGUF file made of it."""
    architecture, own, targets = MODELS[name]
    model = tiny_model(name, **own)
    peft = tiny_adapter(folder / "lora", name, base=model, targets=targets, **fields)
    return model, peft, write_lora(folder / "lora.gguf", peft, model, architecture)


def loaded(path: Path, model: nn.Module) -> Adapter:
    return fit_adapter(read_adapter(path, "pirate"), model)


def refused(path: Path, model: nn.Module | None = None) -> str:
    with pytest.raises(AdapterError) as caught:
        fit_adapter(read_adapter(path, "pirate"), model or nn.Module())
    assert "adapter pirate" in caught.value.message
    return f"{caught.value.message}\nhint: {caught.value.hint}"


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_what_pefts_adapter_does(name: str, tmp_path: Path) -> None:
    model, peft, file = made(tmp_path, name, lora_alpha=6)
    wanted, found = loaded(peft, model).pairs, loaded(file, model).pairs
    assert found.keys() == wanted.keys()
    for module, pair in wanted.items():
        assert torch.equal(found[module].a, pair.a)
        assert torch.equal(found[module].b, pair.b)
        assert found[module].scale == pair.scale
    tokens = random_tokens(1, 12)
    oracle = peft_log_probs(name, peft, tokens, **MODELS[name][1])
    bank, row = LoraBank.of(model), [(loaded(file, model), 1.0)]
    bank.retain([row])
    with bank.active(bank.assign([row])):
        assert (log_probs(model, tokens) - oracle).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3", "phi3"])
def test_llama_cpp_computes_the_same_with_a_file(name: str, tmp_path: Path) -> None:
    """That the files of these tests are llama.cpp's."""
    model, peft, file = made(tmp_path, name)
    whole = write_model(tmp_path / "model.gguf", name, model)
    prompt = random_tokens(1, 8)
    base, oracle = (peft_log_probs(name, one, prompt, **MODELS[name][1])[0, -1] for one in (None, peft))
    assert (base - oracle).abs().max() > 0.3
    for adapter, wanted in ((None, base), (file, oracle)):
        with LlamaCpp(whole, adapter=adapter) as theirs:
            found = theirs.log_probs(prompt[0].tolist())
        assert (found - wanted).abs().max() < (ROUGH if name == "gemma3" else 1e-4)


@pytest.mark.parametrize("kind, error", [("F16", 1e-3), ("BF16", 8e-3), ("Q8_0", 8e-3)])
def test_other_number_formats_are_read(kind: str, error: float, tmp_path: Path) -> None:
    model, peft, _ = made(tmp_path, "llama")
    file = write_lora(tmp_path / "small.gguf", peft, model, kind=kind)
    wanted, found = loaded(peft, model).pairs, loaded(file, model).pairs
    for module, pair in wanted.items():
        for one, other in ((found[module].a, pair.a), (found[module].b, pair.b)):
            assert 0 < (one - other).abs().max() <= error * other.abs().max()


def test_ranks_may_differ_and_alpha_zero_means_a_scale_of_one(tmp_path: Path) -> None:
    model, _, file = made(tmp_path, "llama", r=4, lora_alpha=6, rank_pattern={"q_proj": 2})
    scales = {pair.scale for pair in loaded(file, model).pairs.values()}
    assert scales == {6 / 4, 6 / 2}
    _, _, file = made(tmp_path / "zero", "llama", lora_alpha=0)
    assert {pair.scale for pair in loaded(file, model).pairs.values()} == {1.0}


def test_a_folder_with_one_file_is_an_adapter_and_peft_comes_first(tmp_path: Path) -> None:
    model, peft, file = made(tmp_path / "x", "llama")
    (tmp_path / "folder").mkdir()
    file.rename(tmp_path / "folder" / "pirate.gguf")
    assert loaded(tmp_path / "folder", model).path == tmp_path / "folder" / "pirate.gguf"
    (tmp_path / "folder" / "pirate.gguf").rename(peft / "pirate.gguf")
    assert loaded(peft, model).path == peft


def test_the_base_in_the_file_is_named(tmp_path: Path) -> None:
    model, peft, _ = made(tmp_path, "llama")
    address = "https://huggingface.co/meta/Llama-1B"
    file = write_lora(tmp_path / "named.gguf", peft, model, general__base_model__0__repo_url=address)
    assert read_adapter(file, "pirate").base_name == "meta/Llama-1B"


def test_a_text_model_inside_another_model(tmp_path: Path) -> None:
    text, peft, file = made(tmp_path, "mistral")
    whole = tiny_multimodal("mistral3")
    assert loaded(file, whole).pairs.keys() == {
        name.replace("model.", "model.language_model.", 1) for name in loaded(peft, text).pairs
    }


def test_shapes_are_compared_by_the_header(tmp_path: Path) -> None:
    _, _, file = made(tmp_path, "llama")
    for fields, fitting in (({}, True), ({"num_hidden_layers": 4}, None), ({"hidden_size": 64}, False)):
        folder = save_model(tmp_path / str(fields), **fields)
        tensors = Base(frozenset(), folder).tensors
        assert tensors is not None
        assert fits(file, tensors) is fitting
    file.write_bytes(b"GGUF")
    assert fits(file, tensors) is None


def test_files_for_other_models_do_not_fit(tmp_path: Path) -> None:
    _, _, file = made(tmp_path, "llama")
    text = refused(file, tiny_model("qwen2"))
    assert "it is for the architecture llama of llama.cpp, and the model is of type qwen2" in text
    text = refused(file, tiny_model("llama", num_hidden_layers=2))
    assert "blk.2.attn_q: the model has no such module" in text
    text = refused(file, tiny_model("llama", num_attention_heads=8, num_key_value_heads=8))
    assert "model.layers.{0-2}.self_attn.k_proj: lora_A is (4, 32) and lora_B (16, 4)" in text


def broken(path: Path, tensors: dict[str, tuple[int, ...]], **metadata: Any) -> Path:
    """A file with these tensors, of ones, and metadata that replaces or (None) removes that of a LoRA."""
    fields = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    fields |= {key.replace("__", "."): value for key, value in metadata.items()}
    values = {
        name: torch.full(shape, torch.nan if name.endswith("attn_o.weight.lora_a") else 1.0)
        for name, shape in tensors.items()
    }
    return write_file(path, fields.pop("architecture", "llama"), fields, values.items())


PAIR = {"blk.0.attn_v.weight.lora_a": (2, 32), "blk.0.attn_v.weight.lora_b": (16, 2)}
NORM = {f"blk.{layer}.attn_norm.weight": (32,) for layer in range(3)}


@pytest.mark.parametrize(
    "tensors, metadata, said",
    [
        (PAIR, {"general__type": "model"}, "is a GGUF model, not an adapter\nhint: give it as --model"),
        (PAIR, {"general__type": None}, "is a GGUF model, not an adapter"),
        ({"direction.1": (32,)}, {"architecture": "controlvector"}, "is a control vector, not a LoRA"),
        (PAIR, {"adapter__type": "ia3"}, "adapter.type is 'ia3'; it must be 'lora'"),
        (PAIR, {"architecture": "gpt2"}, "general.architecture is 'gpt2'; it must be one of arcee, cohere2"),
        (PAIR, {"architecture": "\x1b[31m"}, "general.architecture is '\\x1b[31m'"),
        (PAIR, {"adapter__alora__invocation_tokens": [1, 2]}, "activated LoRA switches on"),
        (PAIR, {"adapter__lora__alpha": float("nan")}, "adapter.lora.alpha is nan; it must be a finite"),
        (PAIR, {"adapter__lora__alpha": "8"}, "adapter.lora.alpha is 8; it must be a finite number"),
        ({}, {}, "it holds no tensors"),
        (PAIR | NORM, {}, "blk.0.attn_norm.weight and 2 more: is a whole weight, which llama.cpp ignores"),
        (PAIR | {"blk.0.attn_v.weight.lora_magnitude": (1, 16)}, {}, "lora_magnitude: unknown tensor"),
        ({"token_embd.weight.lora_a": (2, 96)}, {}, "token_embd.weight.lora_a: adapts an embedding"),
        ({"blk.0.ffn_up_exps.weight.lora_a": (4, 2, 32)}, {}, "adapts the experts of a mixture-of-experts"),
        ({"blk.0.attn_v.weight.lora_a": (2, 32)}, {}, "blk.0.attn_v: lora_B is missing"),
        (PAIR | {"blk.0.attn_v.weight.lora_b": (16, 3)}, {}, "lora_A is (2, 32), lora_B is (16, 3)"),
        (PAIR | {"blk.0.attn_o.weight.lora_a": (2, 32)}, {}, "blk.0.attn_o: has values that are NaN"),
    ],
    ids=str,
)
def test_what_is_not_a_lora_is_answered_with_the_reason(
    tensors: dict[str, tuple[int, ...]], metadata: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refused(broken(tmp_path / "x.gguf", tensors, **metadata))


def test_damaged_files_are_one_error(tmp_path: Path) -> None:
    model, _, file = made(tmp_path, "llama")
    content, random_ = file.read_bytes(), random.Random(0)
    seen = 0
    for _ in range(200):
        data = bytearray(content)
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(6000)] = random_.randrange(256)
        if random_.random() < 0.2:
            del data[random_.randrange(len(data)) :]
        file.write_bytes(data)
        try:
            loaded(file, model)
        except AdapterError:
            seen += 1
    assert seen > 100


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_is_one_of_gguf_and_its_model_types_are_of_transformers(architecture: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert architecture in gguf.MODEL_ARCH_NAMES.values()
    for model_type in ARCHITECTURES[architecture]:
        assert model_type in CONFIG_MAPPING_NAMES
