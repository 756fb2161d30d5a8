"""Models converted from GGUF files: where in the cache they are, and which file each was made from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.paths import models_dir
from mpg_cli.io.gguf_header import gguf_files, with_own_name

SOURCE_FILE = "source.json"  # in the folder of a conversion, written last


@dataclass(frozen=True)
class Conversion:
    """A converted model: `id` is the value of `--model` that it was made for, a path or a name."""

    id: str
    folder: Path
    quantisation: str  # of the GGUF file, such as Q4_1


def conversions_dir() -> Path:
    """The folder of converted models, one folder each."""
    return models_dir() / "converted"


def conversions() -> list[Conversion]:
    """The complete conversions in the order of their ids."""
    found = []
    for file in conversions_dir().glob(f"[!.]*/{SOURCE_FILE}"):
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            found.append(Conversion(str(data["id"]), file.parent, str(data["quantisation"])))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return sorted(found, key=lambda one: (one.id, one.folder))


def find_conversion(identity: str) -> Conversion | None:
    """The conversion of a GGUF file, of the folder that has it alone, or of a name; the newest of several.

    A name of Ollama may lack the tag `latest`.
    """
    path = Path(os.path.expanduser(identity))
    files = gguf_files(path)
    names = {identity, f"{identity}:latest", str(with_own_name(files[0] if len(files) == 1 else path))}
    found = [one for one in conversions() if one.id in names]
    return max(found, key=lambda one: (one.folder / SOURCE_FILE).stat().st_mtime, default=None)
