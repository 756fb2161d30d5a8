"""What lies where the two files of a PEFT adapter should be, and what to do where they are not there.

Told by the names of files, so that a folder and a repository of the hub get the same answer. Torch-free.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mpg_cli.errors import AdapterError, MpgError
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_place import hub_address
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

NEEDED = f"an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
LISTED = 8  # places that a hint names
MAX_CONFIG_BYTES = 8 << 20

GGUF_HINT = (
    "llama.cpp reads GGUF; use the PEFT adapter that it was converted from, a folder or a repository with "
    f"{WEIGHTS_FILE} and {CONFIG_FILE}"
)
MLX_HINT = (
    "fuse it into its base with mlx-lm and use the result as a `checkpoint` expert: mlx_lm.fuse --model BASE "
    "--adapter-path FOLDER --save-path NEW (add --dequantize for a quantised BASE)"
)
CONVERT_HINT = """if you trust who made it, convert it once with Python, in its folder (of a repository:
what `hf download OWNER/NAME --local-dir FOLDER` fetches):
  import torch, safetensors.torch
  weights = torch.load("{name}", map_location="cpu", weights_only=True)
  safetensors.torch.save_file({{k: v.contiguous().clone() for k, v in weights.items()}}, "{weights}")"""
IMAGE_HINT = "LoRAs of diffusers and kohya are for image models; a persona's is for a language model"

_PICKLED = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_MLX = ("adapters.safetensors", "adapters.npz")
_MODEL = ("config.json", "model.safetensors", "model.safetensors.index.json")
_GGUF_MAGIC = b"GGUF"


def check_folder(path: Path, where: str, error: type[MpgError] = AdapterError) -> None:
    """That both files are there. Raises `error` saying what is there in their place.

    `where` begins the message: it names the adapter.
    """
    if os.path.isfile(path):  # not Path.is_file: a name may be too long for one
        what, hint = _file(path)
    elif not os.path.isdir(path):
        address = hub_address(str(path))
        what, hint = "does not exist", f"{NEEDED}; {address} means the hub" if address else NEEDED
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
    """The fields of an adapter_config.json. Raises `error` for what is none of PEFT; `where` begins it."""
    if len(content) > MAX_CONFIG_BYTES:
        raise error(f"{where} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        data: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not JSON: {problem}") from None
    if not isinstance(data, dict):
        raise error(f"{where} must hold a JSON object")
    if "peft_type" not in data and ("lora_parameters" in data or "fine_tune_type" in data):
        raise error(f"{where} is of an MLX adapter", hint=MLX_HINT)
    return data


def refusal(files: Collection[str]) -> tuple[str, str] | None:
    """What a folder with these files is where it is no PEFT adapter, and what to do; None where it is one.

    `files` are paths below the folder, with `/`. The first part continues a sentence about the folder.
    """
    here = {name for name in files if "/" not in name}
    if {CONFIG_FILE, WEIGHTS_FILE} <= here:
        return None
    if not here.isdisjoint(_MLX):
        return "is an MLX adapter", MLX_HINT
    if pickled := next((name for name in _PICKLED if name in here), None):
        hint = CONVERT_HINT.format(name=pickled, weights=WEIGHTS_FILE)
        return f"holds its weights as pickle only ({pickled}), which can run code on loading", hint
    if CONFIG_FILE in here:
        return f"has no {WEIGHTS_FILE}", _other_weights(here) or NEEDED
    if gguf := next((name for name in sorted(here) if name.lower().endswith(".gguf")), None):
        return f"has no {CONFIG_FILE}: it holds a GGUF file ({visible(gguf, 60)})", GGUF_HINT
    if WEIGHTS_FILE in here:
        return f"has no {CONFIG_FILE}", (
            "take it from where the adapter was made: PEFT writes both files, and the rank, lora_alpha and "
            "target_modules stand in that one"
        )
    hints = []
    if not here.isdisjoint(_MODEL):
        hints.append("it holds a full model; as an expert it is a `checkpoint` of a persona")
    if folders := below(files):
        hints.append(f"adapters lie in its subfolders: {', '.join(folders)}")
    if "pytorch_lora_weights.safetensors" in here:
        hints.append(IMAGE_HINT)
    return f"has no {CONFIG_FILE}", "; ".join(hints) or _other_weights(here) or NEEDED


def _file(path: Path) -> tuple[str, str]:
    """What a file is that was given where a folder is needed, and what to do."""
    with path.open("rb") as file:
        gguf = file.read(4) == _GGUF_MAGIC
    if gguf or path.suffix.lower() == ".gguf":
        return "is a GGUF file, not an adapter folder", GGUF_HINT
    if path.name in _PICKLED:
        hint = CONVERT_HINT.format(name=path.name, weights=WEIGHTS_FILE)
        return "is a file, not an adapter folder, and a pickle, which can run code on loading", hint
    if path.with_name(CONFIG_FILE).is_file():
        return "is a file, not an adapter folder", f"give its folder: {path.parent}"
    return "is a file, not an adapter folder", NEEDED


def _other_weights(here: Collection[str]) -> str | None:
    """A hint about weights under another name."""
    others = sorted(visible(name, 60) for name in here if name.endswith(".safetensors"))
    return f"{NEEDED}; it has {', '.join(others[:LISTED])}" if others else None


def below(files: Collection[str]) -> list[str]:
    """Subfolders with an adapter each, checkpoints in their order."""
    folders = {name.removesuffix(f"/{CONFIG_FILE}") for name in files if name.endswith(f"/{CONFIG_FILE}")}
    numbers = re.compile(r"\d+")
    ordered = sorted(folders, key=lambda name: (numbers.sub("", name), list(map(int, numbers.findall(name)))))
    return [visible(name, 60) for name in ordered[-LISTED:]]
