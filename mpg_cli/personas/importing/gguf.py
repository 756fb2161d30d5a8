"""Files and names of llama.cpp's format, which mpg cannot run, and what to use in their place."""

from __future__ import annotations

import re
from pathlib import Path

_MAGIC = (b"GGUF", b"ggla", b"ggjt", b"ggml", b"lmgg", b"tjgg", b"algg")
_SUFFIXES = (".gguf", ".ggml")
_IN_NAME = re.compile(r"[-_.]?gguf\b", re.IGNORECASE)

BASE_HINT = (
    "generate with the safetensors model that it was made from, by its name on the hub, "
    "for instance --model Qwen/Qwen3-0.6B"
)
ADAPTER_HINT = (
    "use the PEFT adapter that it was converted from: a folder with adapter_model.safetensors and "
    "adapter_config.json, or its repository OWNER/NAME, as ADAPTER; or take the ADAPTER line out to "
    "import the prompt alone"
)


def is_gguf_name(name: str) -> bool:
    """Whether a path, or the id of a repository, is called like a file of llama.cpp."""
    return name.lower().endswith(_SUFFIXES) or _IN_NAME.search(name) is not None


def is_gguf(path: Path) -> bool:
    """Whether a file, or the first one in a folder, is of llama.cpp, by name or content."""
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
    """What the original may be called: the name of the repository without its owner and -GGUF."""
    return _IN_NAME.sub("", repo.rpartition("/")[2])
