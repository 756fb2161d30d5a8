"""Reading PEFT adapters: what is accepted, and one clear error for everything else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mpg_cli.models.load.adapter import read_adapter
from tests.support.adapters import edit_config, edited_tensors, refused, tiny_adapter
from tests.support.models import tiny_config

WEIGHTS = "adapter_model.safetensors"

Q = "base_model.model.model.layers.1.self_attn.q_proj"


def test_the_fingerprint_follows_configuration_and_weights(folder: Path) -> None:
    before = read_adapter(folder, "a").fingerprint
    assert read_adapter(folder, "b").fingerprint == before
    edit_config(folder, {"lora_alpha": 9})
    after_config = read_adapter(folder, "a").fingerprint
    with edited_tensors(folder) as tensors:
        tensors[f"{Q}.lora_A.weight"] += 1
    assert len({before, after_config, read_adapter(folder, "a").fingerprint}) == 3


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
