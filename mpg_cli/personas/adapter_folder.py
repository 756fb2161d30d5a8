"""The files of an adapter, PEFT's two or one in GGUF; errors describe other contents and the remedy.

The checks use file names, so they apply to local folders and to hub repositories. Torch-free.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mpg_cli.errors import AdapterError, MpgError
from mpg_cli.io.gguf_header import is_gguf
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_place import hub_address, is_gguf_file
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

NEEDED = f"an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or a GGUF file"
LISTED = 8  # maximum names in a hint
MAX_CONFIG_BYTES = 8 << 20

MLX_HINT = (
    "fuse it with its base by mlx-lm and use the result as a `checkpoint` expert: mlx_lm.fuse --model BASE "
    "--adapter-path FOLDER --save-path NEW (add --dequantize for a quantised BASE)"
)
CONVERT_HINT = """if you trust its author, convert it once with Python in its folder (download a repository
with `hf download OWNER/NAME --local-dir FOLDER`):
  import torch, safetensors.torch
  weights = torch.load("{name}", map_location="cpu", weights_only=True)
  safetensors.torch.save_file({{k: v.contiguous().clone() for k, v in weights.items()}}, "{weights}")"""
IMAGE_HINT = "LoRAs of diffusers and kohya are for image models; a persona needs one for a language model"

_PICKLED = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_MLX = ("adapters.safetensors", "adapters.npz")
_MODEL = ("config.json", "model.safetensors", "model.safetensors.index.json")


def gguf_file(path: Path) -> Path | None:
    """The adapter in GGUF at `path`: the file itself, or the one file of a folder without a PEFT adapter."""
    if os.path.isfile(path):  # unlike Path.is_file it accepts names that are too long
        return path if is_gguf_file(path.name) or is_gguf(path) else None
    if not os.path.isdir(path):
        return None
    files = adapter_files([file.name for file in path.iterdir() if file.is_file()])
    return path / files[0] if files is not None and len(files) == 1 else None


def adapter_files(files: Collection[str]) -> list[str] | None:
    """The names, of those in a folder, of the files of its adapter: PEFT's two, else the only one in GGUF."""
    if {CONFIG_FILE, WEIGHTS_FILE} <= set(files):
        return [CONFIG_FILE, WEIGHTS_FILE]
    found = _in_gguf(files)
    return found if len(found) == 1 else None


def _in_gguf(files: Collection[str]) -> list[str]:
    return sorted(name for name in files if "/" not in name and is_gguf_file(name))


def check_folder(path: Path, where: str, error: type[MpgError] = AdapterError) -> None:
    """Check that both files of PEFT exist. Raises `error` with a description of the actual contents.

    `where` names the adapter at the start of the message.
    """
    if os.path.isfile(path):
        what, hint = _describe_file(path)
    elif not os.path.isdir(path):
        address = hub_address(str(path))
        what, hint = "does not exist", f"{NEEDED}; for the hub give {address}" if address else NEEDED
    else:
        files = [file.name for file in path.iterdir() if file.is_file()]
        for depth in ("*", "*/*"):
            found = path.glob(f"{depth}/{CONFIG_FILE}")
            files += [file.relative_to(path).as_posix() for file in found]
        refused = refusal(files)
        if refused is None:
            return
        what, hint = refused
    raise error(f"{where} {what}", hint=hint)


def load_config(content: bytes, where: str, error: type[MpgError] = AdapterError) -> dict[str, Any]:
    """The fields of a PEFT adapter_config.json. Raises `error`, whose message begins with `where`."""
    if len(content) > MAX_CONFIG_BYTES:
        raise error(f"{where} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        data: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not JSON: {problem}") from None
    if not isinstance(data, dict):
        raise error(f"{where} must be a JSON object")
    if "peft_type" not in data and ("lora_parameters" in data or "fine_tune_type" in data):
        raise error(f"{where} belongs to an MLX adapter", hint=MLX_HINT)
    return data


def refusal(files: Collection[str]) -> tuple[str, str] | None:
    """A description of a folder without an adapter and a hint; None for an adapter.

    `files` are paths relative to the folder, with `/`. The description is a predicate: "has no …".
    """
    here = {name for name in files if "/" not in name}
    if adapter_files(here) is not None:
        return None
    if not here.isdisjoint(_MLX):
        return "is an MLX adapter", MLX_HINT
    if pickled := next((name for name in _PICKLED if name in here), None):
        hint = CONVERT_HINT.format(name=pickled, weights=WEIGHTS_FILE)
        return f"has only pickled weights ({pickled}), which can run code when loaded", hint
    if several := _in_gguf(here):
        listed = ", ".join(visible(name, 60) for name in several[:LISTED])
        return f"has {len(several)} GGUF files ({listed})", "name one of them: FOLDER/FILE.gguf"
    if CONFIG_FILE in here:
        return f"has no {WEIGHTS_FILE}", _other_weights(here) or NEEDED
    if WEIGHTS_FILE in here:
        return f"has no {CONFIG_FILE}", (
            "copy it from the original adapter: PEFT writes both files, and this one has the rank, "
            "lora_alpha and target_modules"
        )
    hints = []
    if not here.isdisjoint(_MODEL):
        hints.append("it is a full model; use it as a `checkpoint` of a persona")
    if folders := below(files):
        hints.append(f"its subfolders have adapters: {', '.join(folders)}")
    if "pytorch_lora_weights.safetensors" in here:
        hints.append(IMAGE_HINT)
    return f"has no {CONFIG_FILE}", "; ".join(hints) or _other_weights(here) or NEEDED


def _describe_file(path: Path) -> tuple[str, str]:
    """A description of a file given in place of a folder, and a hint."""
    if path.name in _PICKLED:
        hint = CONVERT_HINT.format(name=path.name, weights=WEIGHTS_FILE)
        return "is a pickle file, not an adapter folder, and can run code when loaded", hint
    if path.with_name(CONFIG_FILE).is_file():
        return "is a file, not an adapter folder", f"give its folder: {path.parent}"
    return "is a file, not an adapter folder", NEEDED


def _other_weights(here: Collection[str]) -> str | None:
    """A hint that names safetensors files with other names."""
    others = sorted(visible(name, 60) for name in here if name.endswith(".safetensors"))
    return f"{NEEDED}; it has {', '.join(others[:LISTED])}" if others else None


def below(files: Collection[str]) -> list[str]:
    """Subfolders that contain a PEFT adapter, checkpoints in numerical order."""
    folders = {name.removesuffix(f"/{CONFIG_FILE}") for name in files if name.endswith(f"/{CONFIG_FILE}")}
    numbers = re.compile(r"\d+")
    ordered = sorted(folders, key=lambda name: (numbers.sub("", name), list(map(int, numbers.findall(name)))))
    return [visible(name, 60) for name in ordered[-LISTED:]]
