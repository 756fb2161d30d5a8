"""Which expert a persona becomes on a model, by the model's names alone. Torch-free: no weights are read.

Names propose and shapes decide: whether an adapter fits is certain only once it is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import mpg_cli
from mpg_cli.errors import PersonaError
from mpg_cli.personas.schema import AdapterEntry, Persona

if TYPE_CHECKING:
    from mpg_cli.events import ExpertKind

State = Literal["here", "hub", "missing"]


@dataclass(frozen=True)
class Fit:
    """What a persona becomes: its kind of expert (None: it has none for the model) and the entry used."""

    kind: ExpertKind | None
    entry: AdapterEntry | None = None


def model_names(identity: str, own: str | None = None) -> frozenset[str]:
    """What a `base` may call a model: its id, its folder's name, and what its configuration calls it."""
    return frozenset((identity, Path(identity).name, own or identity))


def matching_entry(persona: Persona, names: Collection[str]) -> AdapterEntry | None:
    """The first entry whose base is the model by one of its names."""
    return next((entry for entry in persona.adapters if entry.base in names), None)


def fit(persona: Persona, names: Collection[str]) -> Fit:
    """The expert that a persona, no composite, becomes on the model of these names."""
    entry = matching_entry(persona, names) if persona.use != "prompt" else None
    if entry is None:
        return Fit("prompt" if persona.prompt and persona.use in ("auto", "prompt") else None)
    if entry.checkpoint is not None:
        return Fit("checkpoint", entry)
    return Fit("both" if persona.use == "both" and persona.prompt else "adapter", entry)


def state(entry: AdapterEntry) -> State:
    """Whether what the entry names is on this disk (`here`), must be fetched (`hub`), or is not there.

    A folder counts as an adapter with its configuration and weights, and a repository as fetched where the
    hub's cache has them.
    """
    try:
        path = entry.resolved_path()
    except PersonaError:
        return "missing"
    if path is not None:
        wanted = _ADAPTER_FILES if entry.checkpoint is None else _MODEL_FILES
        return "here" if all((path / name).is_file() for name in wanted) else "missing"
    repo = entry.repo or entry.checkpoint or ""
    prefix = f"{entry.subfolder.strip('/')}/" if entry.subfolder else ""
    wanted = [prefix + name for name in _ADAPTER_FILES] if entry.checkpoint is None else _MODEL_FILES
    return "here" if _cached(repo, entry.revision, wanted) else "hub"


_ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"]
_MODEL_FILES = ["config.json"]


def _cached(repo: str, revision: str | None, names: Iterable[str]) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return all(isinstance(try_to_load_from_cache(repo, n, revision=revision), str) for n in names)
    except (HFValidationError, OSError, ValueError):
        return False


def named_model(model: str) -> frozenset[str]:
    """What a `base` may call the model that `--model` names, by the files that are on this disk."""
    folder = _BUNDLED if model == _BUNDLED.name else Path(os.path.expanduser(model))
    identity = model
    config: Path | None
    if folder.is_dir():
        config = folder / _MODEL_FILES[0]
        identity = model if model == _BUNDLED.name else str(folder.resolve())
    else:
        config = _cached_config(model)
    return model_names(identity, _own_name(config) if config else None)


_BUNDLED = Path(mpg_cli.__file__).parent / "data" / "mpg-tiny"


def _own_name(config: Path) -> str | None:
    """`_name_or_path` of a config.json; one that cannot be read is the loader's business."""
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return str(data.get("_name_or_path") or "") or None if isinstance(data, dict) else None


def _cached_config(repo: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo, _MODEL_FILES[0])
    except (HFValidationError, OSError, ValueError):
        return None
    return Path(found) if isinstance(found, str) else None
