"""Whether adapters fit models by the headers of their files, as far as these tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpg_cli.personas.adapter_shapes import fits
from mpg_cli.personas.base import Base
from mpg_cli.personas.weight_files import Stored
from tests.models.tiny import tiny_adapter, tiny_model


def tensors(folder: Path, architecture: str = "llama", **fields: Any) -> dict[str, Stored]:
    tiny_model(architecture, **fields).save_pretrained(folder)
    found = Base(frozenset(), folder).tensors
    assert found is not None
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "phi3", "gpt2", "gpt_neox"])
def test_an_adapter_fits_its_model(tmp_path: Path, architecture: str) -> None:
    adapter = tiny_adapter(tmp_path / "lora", architecture)
    assert fits(adapter, tensors(tmp_path / "model", architecture)) is True


@pytest.mark.parametrize(
    "fields",
    [{"num_hidden_layers": 2}, {"num_hidden_layers": 4}, {"hidden_size": 64}, {"num_key_value_heads": 4}],
    ids=str,
)
def test_other_sizes_do_not_fit(tmp_path: Path, fields: dict[str, int]) -> None:
    assert fits(tiny_adapter(tmp_path / "lora"), tensors(tmp_path / "model", **fields)) is False


def test_another_architecture_does_not_fit(tmp_path: Path) -> None:
    assert fits(tiny_adapter(tmp_path / "lora", "gpt2"), tensors(tmp_path / "model")) is False


def test_prefixes_do_not_count_and_other_towers_neither(tmp_path: Path) -> None:
    adapter = tiny_adapter(tmp_path / "lora", targets=["q_proj"])
    plain = tensors(tmp_path / "model")
    tower = tensors(tmp_path / "tower", hidden_size=64, num_hidden_layers=5)
    wrapped = {f"model.language_model.{name.removeprefix('model.')}": one for name, one in plain.items()}
    wrapped |= {f"model.vision_tower.{name}": one for name, one in tower.items()}
    assert fits(adapter, wrapped) is True


def test_an_adapter_of_some_layers_may_fit(tmp_path: Path) -> None:
    model = tensors(tmp_path / "model")
    assert fits(tiny_adapter(tmp_path / "some", layers_to_transform=[0, 2]), model) is None
    assert fits(tiny_adapter(tmp_path / "regex", targets=r".*\.0\.self_attn\.q_proj"), model) is None


def test_files_that_do_not_tell(tmp_path: Path) -> None:
    model = tensors(tmp_path / "model")
    assert fits(tmp_path / "gone", model) is None
    adapter = tiny_adapter(tmp_path / "lora")
    (adapter / "adapter_model.safetensors").write_bytes(b"\x00" * 4)
    assert fits(adapter, model) is None
