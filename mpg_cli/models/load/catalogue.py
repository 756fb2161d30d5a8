"""Local models: the bundled one, those in the Hugging Face cache, folders. Torch-free.

Only config.json and the headers of safetensors files are read; a model without a `problem` may still turn out
unservable when it loads.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpg_cli.config.paths import DATA
from mpg_cli.errors import ModelError
from mpg_cli.models.load.checkpoint import SERVED_LAYERS, check_plain, choose_files, weight_files
from mpg_cli.options.model import DEFAULT_MODEL

BUNDLED_FOLDER = DATA / DEFAULT_MODEL

Source = Literal["bundled", "cache", "folder"]
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_sequence_length")


@dataclass(frozen=True)
class ModelInfo:
    """One model, as its files describe it. `id` is what `--model` takes.

    `size` is bytes on disk, `context` positions, `problem` why it cannot be served.
    """

    id: str
    source: Source
    folder: Path
    revision: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    parameters: int | None = None
    size: int = 0
    context: int | None = None
    problem: str | None = None


def bundled() -> ModelInfo:
    """The demonstration model of the package."""
    return read_model(BUNDLED_FOLDER, DEFAULT_MODEL, "bundled")


def cached() -> tuple[list[ModelInfo], list[str]]:
    """Models in the hub's cache, by id, and what is wrong with the cache; none where there is no cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return [], []
    except (OSError, ValueError) as error:
        return [], [f"the Hugging Face cache cannot be read: {str(error).splitlines()[0]}"]
    found = []
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model" or not repo.revisions:
            continue
        revision = max(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified))
        if (revision.snapshot_path / "config.json").is_file():
            info = read_model(revision.snapshot_path, repo.repo_id, "cache", revision.commit_hash)
            found.append(info)
    return found, [str(warning).splitlines()[0] for warning in cache.warnings]


def folder_model(name: str) -> ModelInfo | None:
    """The model in a folder of that name; None where there is no such folder."""
    folder = Path(os.path.expanduser(name))
    return read_model(folder, str(folder.resolve()), "folder") if folder.is_dir() else None


def read_model(folder: Path, identity: str, source: Source, revision: str | None = None) -> ModelInfo:
    """What a model's files say; what is wrong with them is its `problem`."""
    facts: dict[str, Any] = {"id": identity, "source": source, "folder": folder, "revision": revision}
    try:
        files = sorted(file.name for file in folder.iterdir())
        facts["size"] = sum((folder / file).stat().st_size for file in files if (folder / file).is_file())
        data = _config(folder) if "config.json" in files else {}
        facts |= _described(data)
        choose_files(identity, files)
        check_plain(data, identity)
        _check_layers(data)
        facts["parameters"] = sum(_parameters(folder / file) for file in weight_files(folder, identity))
    except (ModelError, OSError, ValueError) as error:
        message = error.message if isinstance(error, ModelError) else str(error)
        facts["problem"] = message.removeprefix(f"model {identity} ").removeprefix(f"model {identity}: ")
    return ModelInfo(**facts)


def _config(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("config.json is not readable JSON") from None
    if not isinstance(data, dict):
        raise ValueError("config.json must hold a JSON object")
    return data


def _described(data: Mapping[str, Any]) -> dict[str, Any]:
    """Architecture, dtype and context of a configuration, whatever kinds of values stand there."""
    inner = data.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, dict) else data
    classes = data.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else None
    lengths = (text.get(key) for key in _CONTEXT)
    return {
        "architecture": _text(first) or _text(data.get("model_type")),
        "dtype": _text(data.get("dtype") or data.get("torch_dtype") or text.get("dtype")),
        "context": next((n for n in lengths if isinstance(n, int) and n > 0), None),
    }


def _check_layers(data: Mapping[str, Any]) -> None:
    inner = data.get("text_config")
    kinds = (inner if isinstance(inner, dict) else data).get("layer_types")
    other = sorted({str(kind) for kind in kinds} - set(SERVED_LAYERS)) if isinstance(kinds, list) else []
    if other:
        raise ModelError(f"has layers of type {', '.join(other)}, which cannot be rolled back exactly")


def _parameters(file: Path) -> int:
    """Parameters in a safetensors file, from its header. Raises ValueError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ValueError(f"{file.name} is missing: the download is not complete")
    try:
        with safe_open(str(file), framework="np") as weights:
            return sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    except (SafetensorError, ValueError, OSError):
        raise ValueError(f"{file.name} is truncated or damaged") from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
