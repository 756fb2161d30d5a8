"""Reads the headers of safetensors files: names, shapes and offsets of tensors. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER = 100 << 20  # bytes, the format's own limit
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its safetensors dtype, shape, and byte range `begin`:`end`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a file by name. Raises ValueError for a damaged or incomplete file, and OSError."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, MAX_HEADER):
            raise ValueError(f"{file.name} is truncated or not a safetensors file")
        try:
            header = json.loads(stream.read(length))
            found = {
                name: _stored(file, entry, 8 + length)
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{file.name} is damaged or not a safetensors file") from None
    if max((one.end for one in found.values()), default=8 + length) != size:
        raise ValueError(f"{file.name} is damaged or incomplete")
    return found


def model_tensors(folder: Path) -> dict[str, Stored] | None:
    """The tensors of a model's folder by name; None if its weights are missing or incomplete."""
    try:
        files = {WEIGHTS_FILE}
        if (folder / INDEX_FILE).is_file():
            files = set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values())
        found: dict[str, Stored] = {}
        for file in sorted(files):
            found |= read_header(folder / file)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return found or None


def _stored(file: Path, entry: Mapping[str, Any], start: int) -> Stored:
    begin, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    return Stored(file, str(entry["dtype"]), shape, start + int(begin), start + int(end))
