"""Whether adapters fit models, by the headers of their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.personas.adapter_shapes import fits
from mpg_cli.personas.base import Base
from mpg_cli.personas.weight_files import Stored
from tests.support.adapters import edited_tensors, tiny_adapter
from tests.support.models import tiny_model, tiny_multimodal


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


def test_excluded_modules_leave_layers_out(tmp_path: Path) -> None:
    model = tensors(tmp_path / "model")
    for number, exclude in enumerate((["layers.1.self_attn.q_proj"], r".*\.2\..*")):
        folder = tiny_adapter(tmp_path / str(number), targets=["q_proj"], exclude_modules=exclude)
        assert fits(folder, model) is None


@pytest.mark.parametrize("spelling", ["today", "text"])
def test_towers_of_the_adapter_do_not_count(spelling: str, tmp_path: Path) -> None:
    whole = tiny_multimodal("gemma3")
    folder = tiny_adapter(tmp_path / "lora", base=whole, targets=["q_proj", "v_proj"])
    whole.save_pretrained(tmp_path / "whole")
    found = Base(frozenset(), tmp_path / "whole").tensors
    assert found is not None
    if spelling == "text":
        found = {name.replace("language_model.", ""): one for name, one in found.items()}
    assert fits(folder, found) is True
    assert fits(folder, {name: one for name, one in found.items() if "vision" not in name}) is True


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: key.removesuffix(".weight"),
        lambda key: key.replace(".weight", ".default.weight"),
        lambda key: key.replace("layers.1.", "layers.1._fsdp_wrapped_module."),
        lambda key: key.replace("base_model.model.model.", ""),
    ],
)
def test_spellings_that_load_are_read_here_too(spell: Callable[[str], str], tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "lora")
    with edited_tensors(folder) as found:
        renamed = {spell(key): tensor for key, tensor in found.items()}
        found.clear()
        found.update(renamed)
    assert fits(folder, tensors(tmp_path / "model")) is True


def test_a_kind_of_module_that_the_model_lacks_does_not_fit(tmp_path: Path) -> None:
    adapter = tiny_adapter(tmp_path / "lora", "phi3", targets=["o_proj", "gate_up_proj"])
    assert fits(adapter, tensors(tmp_path / "phi3", "phi3")) is True
    assert fits(adapter, tensors(tmp_path / "llama")) is False


def test_whole_weights_must_be_the_models(tmp_path: Path) -> None:
    adapter = tiny_adapter(tmp_path / "lora", targets=["q_proj", "lm_head"])
    assert fits(adapter, tensors(tmp_path / "model")) is True
    assert fits(adapter, tensors(tmp_path / "other", seed=7)) is False
    assert fits(adapter, tensors(tmp_path / "smaller", vocab_size=90)) is False


def test_files_that_do_not_tell(tmp_path: Path) -> None:
    model = tensors(tmp_path / "model")
    assert fits(tmp_path / "gone", model) is None
    adapter = tiny_adapter(tmp_path / "lora")
    (adapter / "adapter_model.safetensors").write_bytes(b"\x00" * 4)
    assert fits(adapter, model) is None
