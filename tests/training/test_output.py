"""Publishing: adapter and persona file appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.errors import AdapterError
from mpg_cli.personas.persona_file import Destination
from mpg_cli.training.output import clean_config, publish

TENSORS = {"b": torch.ones(2, 3), "a": torch.zeros(4, 2).T}
CONFIG = {"r": 2}


def accept(folder: Path) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def where(tmp_path: Path) -> Destination:
    return Destination(tmp_path, "pirate", "some/model")


def test_both_appear(where: Destination) -> None:
    from safetensors.torch import load_file

    publish(where, CONFIG, TENSORS, "name: pirate\n", accept)
    assert files(where.folder) == [
        "adapters/some--model/pirate/adapter_config.json",
        "adapters/some--model/pirate/adapter_model.safetensors",
        "pirate.yaml",
    ]
    assert json.loads((where.adapter / "adapter_config.json").read_text()) == CONFIG
    assert torch.equal(load_file(where.adapter / "adapter_model.safetensors")["a"], TENSORS["a"])


def test_an_old_adapter_gives_way(where: Destination) -> None:
    publish(where, CONFIG, TENSORS, "name: old\n", accept)
    (where.adapter / "extra").touch()
    publish(where, {"r": 3}, TENSORS, "name: new\n", accept)
    assert not (where.adapter / "extra").exists()
    assert json.loads((where.adapter / "adapter_config.json").read_text()) == {"r": 3}
    assert where.file.read_text() == "name: new\n"
    assert len(files(where.folder)) == 3


def refuse(folder: Path) -> None:
    raise AdapterError("no")


@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "an adapter there"])
@pytest.mark.parametrize("failure", ["check", "disk", "disk at the end", "second rename", "last rename"])
def test_a_failure_leaves_everything_as_it_was(
    where: Destination, monkeypatch: pytest.MonkeyPatch, first: bool, failure: str
) -> None:
    if not first:
        publish(where, CONFIG, TENSORS, "name: old\n", accept)
    before = {path: (where.folder / path).read_bytes() for path in files(where.folder)}
    real_fsync, real_replace = os.fsync, os.replace
    count = 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == (2 if failure == "disk" else 5):  # a file of the adapter, or the persona file
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    def unmovable(source: Any, target: Any) -> None:
        if Path(source).suffix == (".new" if failure == "second rename" else ".part"):
            raise OSError(errno.EIO, "Input/output error")
        real_replace(source, target)

    if failure.startswith("disk"):
        monkeypatch.setattr(os, "fsync", full)
    if failure.endswith("rename"):
        monkeypatch.setattr(os, "replace", unmovable)
    with pytest.raises((AdapterError, OSError)):
        publish(where, {"r": 3}, TENSORS, "name: new\n", refuse if failure == "check" else accept)
    assert {path: (where.folder / path).read_bytes() for path in files(where.folder)} == before


def test_a_persona_file_behind_a_link_is_written_where_it_lies(where: Destination, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "mine.yaml"
    real.parent.mkdir()
    real.write_text("name: old\n")
    real.chmod(0o640)
    where.file.symlink_to(real)
    publish(where, CONFIG, TENSORS, "name: new\n", accept)
    assert where.file.is_symlink()
    assert real.read_text() == "name: new\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["mine.yaml"]


def test_the_configuration_names_the_base_and_no_path() -> None:
    config = {
        "target_modules": {"v", "q"},
        "base_model_name_or_path": "/home/someone/model",
        "rank_pattern": {},
        "layers_to_transform": None,
        "runtime_config": {"x": 1},
        "inference_mode": False,
        "lora_dropout": 0.0,
    }
    assert clean_config(config, "some/model", "abc") == {
        "target_modules": ["q", "v"],
        "base_model_name_or_path": "some/model",
        "revision": "abc",
        "inference_mode": True,
        "lora_dropout": 0.0,
    }
