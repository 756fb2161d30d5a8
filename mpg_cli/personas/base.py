"""A model as the `base` of an adapter may name it, by its names and files. Torch-free."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mpg_cli.config.paths import DATA
from mpg_cli.personas.base_digest import base_digest
from mpg_cli.personas.model_name import is_of_a_run, is_path, last_part, model_id, one_family, says_nothing
from mpg_cli.personas.weight_files import Stored, model_tensors

_BUNDLED = DATA / "mpg-tiny"
_CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Base:
    """A model: all names that it goes by, and its folder, None where it is not on this disk.

    `own` is `_name_or_path` of its configuration: mostly the model that this one was fine-tuned from.
    """

    names: frozenset[str]
    folder: Path | None = None
    own: str | None = None

    def goes_by(self, name: str) -> bool:
        """Whether `name`, as a persona file or an adapter has it, is one of its own."""
        return not self.names.isdisjoint((name, model_id(name)))

    def is_of_family(self, name: str) -> bool:
        """Whether `name` is one of its own without owner, format and case."""
        return any(one_family(name, own) for own in self.names)

    def is_configured_as(self, name: str) -> bool:
        """Whether only its configuration tells which model it is, and means that of `name`.

        What a training run wrote has there what the run began with.
        """
        nameless = all(says_nothing(one) and not is_of_a_run(one) for one in self.names)
        return nameless and self.own is not None and one_family(name, self.own)

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


def model_names(identity: str) -> frozenset[str]:
    """What a `base` may call a model: its id or path, and the last part of it."""
    return frozenset((identity, Path(identity).name, model_id(identity)))


def find_base(identity: str, revision: str | None = None) -> Base:
    """The model that `--model` names, by the files that are on this disk."""
    folder = _folder(identity, revision)
    own = _own_name(folder / _CONFIG_FILE) if folder is not None else None
    return Base(frozenset[str]().union(*map(model_names, _places(identity))), folder, own)


def base_name(model: str) -> str | None:
    """What a persona file should call the model of an id or a path: an id, or the name of the folder.

    None for what is not there and says nothing, such as `/tmp/checkpoint-500`.
    """
    name = model_id(model)
    places = _places(name)
    if places == (name,):
        if says_nothing(name) and (is_path(name) or "/" not in name):
            return None
        return last_part(name) if is_path(name) else name
    if (found := model_id(places[-1])) != places[-1]:
        return found
    called = [Path(place).name for place in places]
    return next((one for one in called if not says_nothing(one)), called[-1])


def _places(name: str) -> tuple[str, ...]:
    """A folder that is there by its path as given and without links; what is none as it is."""
    folder = os.path.expanduser(name)
    if name == _BUNDLED.name or not os.path.isdir(folder):
        return (name,)
    return os.path.abspath(folder), str(Path(folder).resolve())


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
