"""Names of models as people write them: which are of one model, and which only look alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.personas.base import base_name, model_names
from mpg_cli.personas.model_name import is_generic, model_id, same_family, unquantised

_ANYTHING = """
    . model model-bf16 model-4bit model_fp16 merged_16bit merged_model_fp16 bf16-model awq GPTQ 4bit base
    checkpoint-500 checkpoint-final checkpoint-500-merged checkpoint-500_hf model_final global_step100
    iter_0001000 hf_ckpt_step_10 epoch_3 final output hf_model pretrained pretrained_model sft dpo lora run1
    experiment v1 llm test actor student finetuned fine-tuned-model my_model new_model original default
    instruct 7b 7b-instruct huggingface adapter 1 unsloth 5b3e9f1
"""
_FORMATS = """
    4bit-DWQ-05092025 qat-q4_0-gguf qat-q4_0-unquantized GPTQ-4b-128g w4a16-g128 AutoRound
    AutoRound-GPTQ-sym-4bit HQQ-4bit-smashed bnb-8bit-smashed torchao-int4 fp8-e4m3 q4f16_1-MLC ct2-int8
    8bit-gs64 GPTQ-Int4-group_size-128 fp16-sharded sharded-bf16 AQLM-2Bit-1x16-hf UD-Q4_K_XL IQ4_XS
"""
ANYTHING, FORMATS = _ANYTHING.split(), _FORMATS.split()


@pytest.mark.parametrize(
    "one, other",
    [
        ("Qwen/Qwen3-0.6B", "/data/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "C:\\models\\Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "qwen/qwen3-0.6b/"),
        ("Qwen/Qwen3-0.6B", "/models/Qwen_Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "/models/Qwen3 0.6B"),
        ("google/gemma-3-270m-it", "/models/gemma-3-270m_it"),
        ("Qwen/Qwen3-0.6B", "bartowski/Qwen_Qwen3-0.6B-GGUF"),
        ("Qwen/Qwen3-0.6B", "/cache/modelscope/Qwen/Qwen3-0___6B"),
        ("Qwen/Qwen3-0.6B", "/copied/models--Qwen--Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "https://huggingface.co/Qwen/Qwen3-0.6B"),
        ("meta-llama/Meta-Llama-3-8B", "unsloth/llama-3-8b-bnb-4bit"),
        ("meta-llama/Llama-2-7b-hf", "TheBloke/Llama-2-7B-GPTQ"),
        ("a/X-1B-Instruct", "mlx-community/X-1B-Instruct-4bit"),
        ("a/X-1B", "unsloth/X-1B-unsloth-bnb-4bit"),
        ("a/X-1B", "a/X-1B-GPTQ-Int4"),
        ("a/X-1B", "b/X-1B-GPTQ-4bit-128g-actorder_True"),
        ("a/X-1B", "b/X-1B-AWQ"),
        ("a/X-1B", "b/X-1B-FP8-dynamic"),
        ("a/X-1B", "b/X-1B-quantized.w4a16"),
        ("a/X-1B", "b/X-1B-i1-GGUF"),
        ("a/X-1B", "/files/X-1B.Q4_K_M.gguf"),
        ("a/X-1B", "b/X-1B-GGUF:Q4_K_M"),
        ("a/X-1B", "b/X-1B-4.0bpw-h6-exl2"),
        ("a/X-1B", "b/X-1B-mlx-8bit"),
        ("a/X-1B", "b/X-1B-bf16"),
        ("a/tiny-story", "/models/tiny-story"),
        ("/run/one/X-1B", "/run/two/x-1b-fp16"),
        *(("a/X-1B", f"b/X-1B-{tail}") for tail in FORMATS),
    ],
)
def test_one_family(one: str, other: str) -> None:
    assert same_family(one, other)
    assert same_family(other, one)


@pytest.mark.parametrize(
    "one, other",
    [
        ("a/X-7B", "a/X-14B"),
        ("a/X-1B", "a/X-1.5B"),
        ("a/X", "a/X-Instruct"),
        ("a/X", "a/X-Base"),
        ("a/X-3", "a/X-3.1"),
        ("microsoft/phi-1", "microsoft/phi-1_5"),
        ("a/X-2507", "a/X"),
        ("mpg-tiny", "tiny"),
        ("a/model", "b/model"),
        ("/run/one/checkpoint-500", "/run/two/checkpoint-500"),
        ("a/b/snapshots/" + "0a" * 20, "c/snapshots/" + "0a" * 20),
        ("llama3:8b-instruct-q4_0", "llama3:8b-text-q4_0"),
        ("a/X-128k-AWQ", "a/X-64k-AWQ"),  # trained for long texts
        ("a/X-1B", "a/X-1B-bf16-v2"),
        ("a/X-2507-4bit", "a/X-4bit"),
        ("a/meta-X", "a/X"),
        ("/one/pirate", "/two/pirate"),  # folders, and not called as models are
        *((f"/one/{name}", f"/two/{name}") for name in ANYTHING),
        *(("org/model", f"/two/{name}") for name in ANYTHING),
    ],
)
def test_two_families(one: str, other: str) -> None:
    assert not same_family(one, other)
    assert not same_family(other, one)


@pytest.mark.parametrize(
    "name, plain",
    [
        ("unsloth/llama-3-8b-bnb-4bit", "unsloth/llama-3-8b"),
        ("unsloth/Qwen3-4B-unsloth-bnb-4bit", "unsloth/Qwen3-4B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
        ("TheBloke/Llama-2-7B-AWQ", "Llama-2-7B"),  # the owner has no plain ones
        ("mlx-community/Qwen3-0.6B-4bit-DWQ-05092025", "Qwen3-0.6B"),
        ("bartowski/Qwen_Qwen3-0.6B-GGUF", "Qwen_Qwen3-0.6B"),
        ("google/gemma-3-4b-it-qat-q4_0-unquantized", None),
        ("model-4bit", None),
        ("/run/merged-4bit", None),
        ("a/X-FP8", "a/X"),
        ("a/X-Q4_K_M", "a/X"),
        ("a/X-bf16", None),
        ("a/X-7b-hf", None),
        ("Qwen/Qwen3-0.6B", None),
        ("a/4bit", None),
        ("gpt2", None),
    ],
)
def test_the_full_precision_of_a_quantised_model(name: str, plain: str | None) -> None:
    assert unquantised(name) == plain


def test_a_snapshot_of_the_cache_is_known_by_its_repository() -> None:
    path = "/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots/" + "0a" * 20
    assert model_id(path) == model_id(path + "/") == "Qwen/Qwen3-0.6B"
    assert "Qwen/Qwen3-0.6B" in model_names(path)
    assert model_id("/hub/models--gpt2/snapshots/abc") == "gpt2"


@pytest.mark.parametrize("name", [*ANYTHING, "./model", "x/checkpoint-500", "0a" * 20])
def test_names_that_say_nothing(name: str) -> None:
    assert is_generic(name)


@pytest.mark.parametrize("name", ["gpt2", "mpg-tiny", "a/X", "phi-1_5", "org/llama-7b-sft-v2", "o1-mini"])
def test_names_that_say_something(name: str) -> None:
    assert not is_generic(name)


def test_what_a_persona_file_calls_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "models--a--X" / "snapshots" / "0b"
    for folder in (tmp_path / "tiny-one", snapshot, tmp_path / "model"):
        folder.mkdir(parents=True)
    (tmp_path / "X-1B").symlink_to(tmp_path / "model")
    (tmp_path / "latest").symlink_to(tmp_path / "tiny-one")
    (tmp_path / "here").symlink_to(snapshot)
    assert base_name(str(snapshot)) == "a/X"
    assert base_name("./tiny-one/") == base_name(str(tmp_path / "tiny-one")) == "tiny-one"
    assert base_name("model") == "model"
    assert base_name("a/X") == "a/X"
    assert base_name("gpt2") == "gpt2"
    assert base_name("mpg-tiny") == "mpg-tiny"
    assert base_name("/gone/models/X-1B") == "X-1B"
    assert base_name("X-1B") == base_name(str(tmp_path / "X-1B")) == "X-1B"
    assert base_name("latest") == "tiny-one"
    assert base_name("here") == "a/X"
    for nothing in ("/gone/checkpoint-500", "/gone/model-4bit", "model-4bit"):
        assert base_name(nothing) is None
