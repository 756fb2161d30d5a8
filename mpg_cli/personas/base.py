"""A base model by its names and files, to match the `base` of adapters. Torch-free."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mpg_cli.config.conversions import find_conversion
from mpg_cli.config.named_models import BUNDLED, BUNDLED_FOLDER, NAMES, SMOLLM2, smollm2
from mpg_cli.io.gguf_header import is_gguf
from mpg_cli.personas.base_digest import base_digest
from mpg_cli.personas.model_name import is_generic, is_path, is_training_run, last_part, model_id, same_family
from mpg_cli.personas.weight_files import Stored, model_tensors

_CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Base:
    """A model: its names, and its folder (None if it is not on this disk).

    `own` is `_name_or_path` of its configuration, usually the model that it was fine-tuned from.
    """

    names: frozenset[str]
    folder: Path | None = None
    own: str | None = None

    def has_name(self, name: str) -> bool:
        """Whether `name`, from a persona file or an adapter, is one of its names."""
        return not self.names.isdisjoint((name, model_id(name)))

    def is_of_family(self, name: str) -> bool:
        """Whether `name` is one of its names, ignoring owner, format and case."""
        return any(same_family(name, own) for own in self.names)

    def is_configured_as(self, name: str) -> bool:
        """Whether all its names are generic and its configuration names the model `name`.

        Excludes output of training runs, whose configuration names the model before training.
        """
        nameless = all(is_generic(one) and not is_training_run(one) for one in self.names)
        return nameless and self.own is not None and same_family(name, self.own)

    @cached_property
    def tensors(self) -> dict[str, Stored] | None:
        """The tensors in the headers of its files; None unless all files exist."""
        return model_tensors(self.folder) if self.folder is not None else None

    @cached_property
    def digest(self) -> str | None:
        """The digest to compare with an entry's `base_digest`."""
        try:
            return base_digest(self.tensors) if self.tensors is not None else None
        except OSError:
            return None


def model_names(identity: str) -> frozenset[str]:
    """The names of a model in a `base` field: its id or path, and the last part."""
    return frozenset((identity, Path(identity).name, model_id(identity)))


def find_base(identity: str, revision: str | None = None) -> Base:
    """The model that `--model` names, from the files on this disk.

    A GGUF file has its own name and the one in its metadata, which its conversion keeps.
    """
    named = _folder(identity, revision) if identity in NAMES else None
    conversion = find_conversion(identity) if named is None else None
    folder = conversion.folder if conversion is not None else named or _folder(identity, revision)
    own = _own_name(folder / _CONFIG_FILE) if folder is not None else None
    places = _places(identity)
    if conversion is not None:
        places += (conversion.id, own) if own is not None else (conversion.id,)
    return Base(frozenset[str]().union(*map(model_names, places)), folder, own)


def base_name(model: str) -> str | None:
    """The name of a model in a persona file, from an id or a path: an id, or the name of the folder.

    None for a missing folder with a generic name, such as `/tmp/checkpoint-500`.
    """
    name = model_id(model)
    places = _places(name)
    if places == (name,):
        if is_generic(name) and (is_path(name) or "/" not in name):
            return None
        return last_part(name) if is_path(name) else name
    if (found := model_id(places[-1])) != places[-1]:
        return found
    names = [Path(place).name for place in places]
    return next((one for one in names if not is_generic(one)), names[-1])


def _places(name: str) -> tuple[str, ...]:
    """The absolute and the resolved path of an existing folder or GGUF file; any other name unchanged."""
    folder = os.path.expanduser(name)
    if name in NAMES or not (os.path.isdir(folder) or is_gguf(Path(folder))):
        return (name,)
    return os.path.abspath(folder), str(Path(folder).resolve())


def _folder(identity: str, revision: str | None) -> Path | None:
    """The folder of the model's files: the bundled model, a folder or the hub cache."""
    if identity == BUNDLED:
        return BUNDLED_FOLDER
    if identity == SMOLLM2:
        place = smollm2(revision)
        return place.path if place and place.path.is_dir() else None
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
    """`_name_or_path` of a config.json; None if it cannot be read (the loader reports that)."""
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return str(data.get("_name_or_path") or "") or None if isinstance(data, dict) else None
