"""Finds and checks the adapter of a Modelfile: a PEFT folder or a file in one, GGUF, or a hub repository."""

from __future__ import annotations

import os
from pathlib import Path

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_config import parse_config
from mpg_cli.personas.adapter_folder import MAX_CONFIG_BYTES, NEEDED, check_folder, gguf_file, load_config
from mpg_cli.personas.adapter_gguf import read_lora
from mpg_cli.personas.adapter_place import AdapterPlace, adapter_place
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.base import base_name
from mpg_cli.personas.importing.draft import LocalAdapter
from mpg_cli.personas.model_name import unquantised
from mpg_cli.personas.weight_files import read_header

_NEEDS = f"{NEEDED}, or a repository OWNER/NAME"


def find_adapter(value: str, folder: Path | None, where: str) -> LocalAdapter | AdapterPlace:
    """The local files or the hub repository that `value` names; paths are relative to `folder`.

    Raises UsageError.
    """
    what = f"{where}: the adapter '{visible(value, 100)}'"
    place = adapter_place(value, folder)
    if place.path is not None and os.path.exists(place.path):
        return local_adapter(place.path, what)
    if place.path is not None:
        raise UsageError(f"{what} does not exist", hint=_NEEDS)
    return place


def local_adapter(path: Path, what: str) -> LocalAdapter:
    """The files of the adapter in the folder `path`, or of the weights file or GGUF file `path`.

    Raises UsageError, whose message begins with `what`.
    """
    if (file := gguf_file(path)) is not None:
        read_lora(file, what, UsageError)
        return LocalAdapter(file)
    weights = path / WEIGHTS_FILE
    if path.is_file() and path.suffix.lower() == ".safetensors":
        weights = path
        if not path.with_name(CONFIG_FILE).is_file():
            raise UsageError(f"{what} has no {CONFIG_FILE}", hint=_NEEDS)
    else:
        check_folder(path, what, UsageError)
    _check_header(weights, what)
    return LocalAdapter(weights, weights.with_name(CONFIG_FILE))


def base_of(adapter: LocalAdapter, where: str) -> str | None:
    """The base model that the adapter's files name, as a name for persona files. Raises UsageError.

    None if there is none, or only a path with a generic name.
    """
    if adapter.config is None:
        named = read_lora(adapter.weights, f"{where}: {visible(str(adapter.weights))}", UsageError).base_name
        return base_name(named) if named is not None and named.isprintable() else None
    name = f"{where}: {visible(str(adapter.config))}"
    try:
        with adapter.config.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    data = load_config(content, name, UsageError)
    _, problems = parse_config(data)
    if problems:
        raise UsageError("\n  - ".join([f"{where}: the adapter cannot be used:", *problems[:20]]))
    base = data.get("base_model_name_or_path")
    return base_name(base) if isinstance(base, str) and base.strip() and base.isprintable() else None


def full_precision(base: str) -> tuple[str, str | None]:
    """The full-precision model for a quantised one, with a notice; any other model unchanged."""
    plain = unquantised(base)
    if plain is None:
        return base, None
    notice = (
        f"{visible(base, 80)} is quantised, which mpg does not support; using {visible(plain, 80)} as base"
    )
    return plain, f"{notice} (choose another with --base)"


def local_path(value: str, folder: Path | None) -> Path | None:
    """`value` as a path relative to the Modelfile, with ~ expanded; None if it is not a valid path."""
    try:
        path = (folder or Path()) / os.path.expanduser(value)
        path.exists()
    except (OSError, ValueError):
        return None
    return path


def _check_header(weights: Path, what: str) -> None:
    """Raise UsageError unless the file is complete safetensors; the loader checks the tensors."""
    try:
        complete = bool(read_header(weights))
    except OSError as error:
        raise UsageError(f"{what}: {visible(weights.name, 60)} cannot be read: {error.strerror}") from None
    except ValueError:
        complete = False
    if not complete:
        raise UsageError(f"{what}: {visible(weights.name, 60)} is damaged or not a safetensors file")
