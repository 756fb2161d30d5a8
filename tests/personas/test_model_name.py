"""Names of models as people write them: which are of one model, and which only look alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.personas.base import base_name, model_names
from mpg_cli.personas.model_name import families, model_id, says_nothing, unquantised


@pytest.mark.parametrize(
    "one, other",
    [
        ("Qwen/Qwen3-0.6B", "/data/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "C:\\models\\Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "qwen/qwen3-0.6b/"),
        ("Qwen/Qwen3-0.6B", "/models/Qwen_Qwen3-0.6B"),
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
    ],
)
def test_one_family(one: str, other: str) -> None:
    assert families(one) & families(other)


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
    ],
)
def test_two_families(one: str, other: str) -> None:
    assert not families(one) & families(other)


@pytest.mark.parametrize(
    "name, plain",
    [
        ("unsloth/llama-3-8b-bnb-4bit", "unsloth/llama-3-8b"),
        ("unsloth/Qwen3-4B-unsloth-bnb-4bit", "unsloth/Qwen3-4B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
        ("TheBloke/Llama-2-7B-AWQ", "TheBloke/Llama-2-7B"),
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


@pytest.mark.parametrize(
    "name", ["model", "./model", "x/checkpoint-500", "final", "output", "hf_model", "0a" * 20]
)
def test_names_that_say_nothing(name: str) -> None:
    assert says_nothing(name)
    assert not families(name)


def test_what_a_persona_file_calls_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "models--a--X" / "snapshots" / "0b"
    for folder in (tmp_path / "tiny-one", snapshot, tmp_path / "model"):
        folder.mkdir(parents=True)
    assert base_name(str(snapshot)) == "a/X"
    assert base_name("./tiny-one/") == base_name(str(tmp_path / "tiny-one")) == "tiny-one"
    assert base_name("model") == "model"
    assert base_name("a/X") == "a/X"
    assert base_name("gpt2") == "gpt2"
    assert base_name("mpg-tiny") == "mpg-tiny"
    assert base_name("/gone/models/X-1B") == "X-1B"
    assert base_name("/gone/checkpoint-500") is None
