"""Detects GGUF files, which mpg does not support, and suggests alternatives."""

from __future__ import annotations

import re
from pathlib import Path

_MAGIC = (b"GGUF", b"ggla", b"ggjt", b"ggml", b"lmgg", b"tjgg", b"algg")
_SUFFIXES = (".gguf", ".ggml")
_IN_NAME = re.compile(r"[-_.]?gguf\b", re.IGNORECASE)

BASE_HINT = "generate with the original safetensors model by its hub id, for instance --model Qwen/Qwen3-0.6B"
ADAPTER_HINT = (
    "use the PEFT adapter that it was converted from: a folder with adapter_model.safetensors and "
    "adapter_config.json, or its repository OWNER/NAME, as ADAPTER; or remove the ADAPTER line to "
    "import only the prompt"
)


def is_gguf_name(name: str) -> bool:
    """Whether the name of a path or repository is that of a GGUF file."""
    return name.lower().endswith(_SUFFIXES) or _IN_NAME.search(name) is not None


def is_gguf(path: Path) -> bool:
    """Whether a file, or the first *.gguf file in a folder, is GGUF by name or content."""
    if path.is_dir():
        return any(is_gguf(file) for file in sorted(path.glob("*.gguf"))[:1])
    if is_gguf_name(path.name):
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def original(repo: str) -> str:
    """The likely name of the original model: the repository's without owner and -GGUF."""
    return _IN_NAME.sub("", repo.rpartition("/")[2])
