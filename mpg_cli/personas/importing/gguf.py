"""Detects GGUF files by name and content."""

from __future__ import annotations

import re
from pathlib import Path

_MAGIC = (b"GGUF", b"ggla", b"ggjt", b"ggml", b"lmgg", b"tjgg", b"algg")
_SUFFIXES = (".gguf", ".ggml")
_IN_NAME = re.compile(r"[-_.]?gguf\b", re.IGNORECASE)


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
