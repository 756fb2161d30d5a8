"""A model as the `base` of an adapter may name it, by its names and files. Torch-free."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mpg_cli
from mpg_cli.personas.base_digest import base_digest
from mpg_cli.personas.model_name import families, last_part, model_id, says_nothing
from mpg_cli.personas.weight_files import Stored, model_tensors

_BUNDLED = Path(mpg_cli.__file__).parent / "data" / "mpg-tiny"
_CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Base:
    """A model: all names that it goes by, and its folder, None where it is not on this disk."""

    names: frozenset[str]
    folder: Path | None = None

    @cached_property
    def families(self) -> frozenset[str]:
        """Its names without owner, format and case."""
        return frozenset[str]().union(*map(families, self.names))

    @cached_property
    def tensors(self) -> dict[str, Stored] | None:
        """What the headers of its files tell, where they are all there."""
        return model_tensors(self.folder) if self.folder is not None else None

    @cached_property
    def digest(self) -> str | None:
        """What an entry's `base_digest` is compared with."""
        try:
            return base_digest(self.tensors) if self.tensors is not None else None
        except OSError:
            return None


def model_names(identity: str, own: str | None = None) -> frozenset[str]:
    """What a `base` may call a model: its id, its folder's name, and what its configuration calls it."""
    own = own or identity
    return frozenset((identity, Path(identity).name, model_id(identity), own, model_id(own)))


def find_base(identity: str, revision: str | None = None, own: str | None = None) -> Base:
    """The model that `--model` names, by the files that are on this disk.

    `own` is what its configuration calls it, where that is known already.
    """
    folder = _folder(identity, revision)
    if own is None and folder is not None:
        own = _own_name(folder / _CONFIG_FILE)
    if identity != _BUNDLED.name and os.path.isdir(os.path.expanduser(identity)):
        identity = str(Path(os.path.expanduser(identity)).resolve())
    return Base(model_names(identity, own), folder)


def base_name(model: str) -> str | None:
    """What a persona file should call the model of an id or a path: an id, or the name of the folder.

    None for a path that is not there and says nothing, such as `/tmp/checkpoint-500`.
    """
    name = model_id(model)
    path = Path(os.path.expanduser(name))
    if name != _BUNDLED.name and path.is_dir():
        found = model_id(resolved := str(path.resolve()))
        return found if found != resolved else path.resolve().name
    if not _is_path(name):
        return name
    return None if says_nothing(name) else last_part(name)


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or name[1:2] == ":"


def _folder(identity: str, revision: str | None) -> Path | None:
    """Where the model's files lie."""
    if identity == _BUNDLED.name:
        return _BUNDLED
    folder = Path(os.path.expanduser(identity))
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(identity, _CONFIG_FILE, revision=revision)
    except (HFValidationError, OSError, ValueError):
        return None
    return Path(found).parent if isinstance(found, str) else None


def _own_name(config: Path) -> str | None:
    """`_name_or_path` of a config.json; one that cannot be read is the loader's business."""
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return str(data.get("_name_or_path") or "") or None if isinstance(data, dict) else None
