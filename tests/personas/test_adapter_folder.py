"""Folders that are not PEFT adapters: their kind and the remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import read_adapter
from tests.support.adapters import tiny_adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def refused(path: Path) -> str:
    with pytest.raises(AdapterError) as caught:
        read_adapter(path, "pirate")
    assert caught.value.message.startswith(f"adapter pirate: {path} ")
    return f"{caught.value.message.removeprefix(f'adapter pirate: {path} ')}\nhint: {caught.value.hint}"


@pytest.mark.parametrize(
    "files, what, remedy",
    [
        ([], "has no adapter_config.json", "an adapter is a folder with adapter_config.json and"),
        (["a.gguf", "b.GGUF"], "has 2 GGUF files (a.gguf, b.GGUF)", "name one of them: FOLDER/FILE.gguf"),
        ([CONFIG, "adapters.safetensors"], "is an MLX adapter", "mlx_lm.fuse --model BASE"),
        (["adapters.npz"], "is an MLX adapter", "`checkpoint` expert"),
        (
            [CONFIG, "0000100_adapters.safetensors", "adapters.safetensors"],
            "is an MLX adapter",
            "mlx_lm.fuse",
        ),
        (["config.json", "model.safetensors"], "has no adapter_config.json", "full model; use it as"),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json"], "has no", "full model"),
        (["pytorch_lora_weights.safetensors"], "has no adapter_config.json", "are for image models"),
        ([WEIGHTS], "has no adapter_config.json", "PEFT writes both files"),
        ([CONFIG], "has no adapter_model.safetensors", "an adapter is a folder with"),
        ([CONFIG, "model.safetensors"], "has no adapter_model.safetensors", "it has model.safetensors"),
        (["style.safetensors"], "has no adapter_config.json", "it has style.safetensors"),
        ([CONFIG, "adapter_model.bin"], "only pickled weights (adapter_model.bin)", "torch.load("),
        (["adapter_model.bin"], "only pickled weights (adapter_model.bin)", "torch.load("),
        (
            ["checkpoint-9/" + CONFIG, "checkpoint-100/" + CONFIG, "checkpoint-20/" + CONFIG],
            "has no adapter_config.json",
            "subfolders have adapters: checkpoint-9, checkpoint-20, checkpoint-100",
        ),
        (["runs/one/" + CONFIG], "has no adapter_config.json", "subfolders have adapters: runs/one"),
        (["config.json", "lora/" + CONFIG], "has no", "`checkpoint` of a persona; its subf"),
    ],
)
def test_a_folder_is_classified_by_its_files(
    files: list[str], what: str, remedy: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    message, _, hint = refused(tmp_path).partition("\nhint: ")
    assert what in message
    assert remedy in hint


@pytest.mark.parametrize(
    "name, what, remedy",
    [
        ("pirate.gguf", "is not a GGUF file", "None"),
        ("no-suffix", "is truncated", "fetch the file again"),
        ("adapter_model.bin", "and can run code", "torch.load("),
        ("style.safetensors", "is a file, not an adapter folder", "an adapter is a folder with"),
    ],
)
def test_a_file_is_classified_by_its_content(name: str, what: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"GGUF" if name == "no-suffix" else b"")
    message, _, hint = refused(tmp_path / name).partition("\nhint: ")
    assert what in message
    assert remedy in hint


def test_a_file_of_an_adapter_names_its_folder(tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"])
    assert f"hint: give its folder: {folder}" in refused(folder / WEIGHTS)


def test_an_mlx_configuration_under_pefts_names(tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"])
    mlx = {"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {"rank": 8, "scale": 20.0}}
    (folder / CONFIG).write_text(json.dumps(mlx))
    with pytest.raises(
        AdapterError, match=r"adapter pirate: .*adapter_config.json belongs to an MLX adapter"
    ) as it:
        read_adapter(folder, "pirate")
    assert "mlx_lm.fuse" in str(it.value.hint)


def test_the_lines_for_a_pickle_convert_it(tmp_path: Path) -> None:
    """As a user would: the three lines of the hint, run in the folder."""
    folder = tiny_adapter(tmp_path / "pirate", targets=["q_proj"])
    wanted = load_file(folder / WEIGHTS)
    strided = {key: tensor.t().contiguous().t() for key, tensor in wanted.items()}
    torch.save(strided, folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    lines = [line.strip() for line in refused(folder).splitlines() if line.startswith("  ")]
    assert len(lines) == 3
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, check=True)
    converted = load_file(folder / WEIGHTS)
    assert converted.keys() == wanted.keys()
    assert all(torch.equal(converted[key], wanted[key]) for key in wanted)
    assert read_adapter(folder, "pirate").pairs
