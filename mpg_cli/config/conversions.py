"""Models converted from GGUF files: where in the cache they are, and which file each was made from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    files: Mapping[str, int] = field(default_factory=dict, hash=False)  # the bytes of each, by name

    @property
    def complete(self) -> bool:
        """Whether all files are there in full."""
        try:
            return bool(self.files) and all(
                (self.folder / name).stat().st_size == size for name, size in self.files.items()
            )
        except (OSError, ValueError):
            return False


def conversions_dir() -> Path:
    """The folder of converted models, one folder each."""
    return models_dir() / "converted"


def conversions() -> list[Conversion]:
    """All conversions in the order of their ids."""
    files = conversions_dir().glob(f"[!.]*/{SOURCE_FILE}")
    found = [one for one in map(read_conversion, (file.parent for file in files)) if one is not None]
    return sorted(found, key=lambda one: (one.id, one.folder))


def read_conversion(folder: Path) -> Conversion | None:
    """The conversion in a folder; None where there is none, or where its description cannot be read."""
    try:
        data = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        files = data.get("files")
        sizes = files if isinstance(files, dict) else {}
        return Conversion(str(data["id"]), folder, str(data["quantisation"]), sizes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def find_conversion(identity: str) -> Conversion | None:
    """The conversion of a GGUF file, of the folder that has it alone, or of a name: the newest complete one.

    Where none is complete, the newest one.

    A name of Ollama may lack the tag `latest`.
    """
    path = Path(os.path.expanduser(identity))
    files = gguf_files(path)
    names = {identity, f"{identity}:latest", str(with_own_name(files[0] if len(files) == 1 else path))}
    found = [one for one in conversions() if one.id in names]
    return max(found, key=_rank, default=None)


def _rank(one: Conversion) -> tuple[bool, float]:
    return one.complete, _time(one)


def _time(one: Conversion) -> float:
    try:
        return (one.folder / SOURCE_FILE).stat().st_mtime
    except OSError:  # another process removes it
        return 0.0
