"""The adapter that a Modelfile names: a PEFT folder, a file in one, or a repository of the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.importing.draft import LocalAdapter
from mpg_cli.importing.gguf import ADAPTER_HINT, is_gguf, is_gguf_name
from mpg_cli.importing.json_text import parse_json
from mpg_cli.models.adapter_config import parse_config
from mpg_cli.models.adapter_folder import MLX_HINT, is_mlx, refusal
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.base import base_name
from mpg_cli.personas.model_name import unquantised
from mpg_cli.personas.text import visible
from mpg_cli.personas.weight_files import read_header

_REPO = re.compile(r"(?:(?:https?://)?(?:hf\.co|huggingface\.co)/)?([\w][\w.-]*/[\w][\w.-]*)/?", re.ASCII)
_NEEDS = f"an adapter is a folder with {WEIGHTS_FILE} and {CONFIG_FILE}, or a repository OWNER/NAME"


def find_adapter(value: str, folder: Path | None, where: str) -> LocalAdapter | str:
    """The files, or the id of a repository, that `value` names, relative to `folder`. Raises UsageError."""
    shown = f"'{visible(value, 100)}'"
    path = local_path(value, folder)
    repo = repository(value)
    if path is None or not path.exists():
        if is_gguf_name(value):
            raise UsageError(f"{where}: {shown} is a GGUF adapter, which mpg cannot use", hint=ADAPTER_HINT)
        if repo is None:
            raise UsageError(f"{where}: the adapter {shown} does not exist", hint=_NEEDS)
        return repo
    if path.suffix.lower() != ".safetensors" and not (path / WEIGHTS_FILE).exists() and is_gguf(path):
        raise UsageError(f"{where}: {shown} is a GGUF adapter, which mpg cannot use", hint=ADAPTER_HINT)
    if path.is_dir() and (refused := refusal([file.name for file in path.iterdir()])):
        raise UsageError(f"{where}: the adapter {shown} {refused[0]}", hint=refused[1])
    weights = path / WEIGHTS_FILE if path.is_dir() else path
    found = LocalAdapter(config=weights.with_name(CONFIG_FILE), weights=weights)
    for file in (found.weights, found.config):
        if not file.is_file():
            raise UsageError(f"{where}: the adapter {shown} has no {visible(file.name, 60)}", hint=_NEEDS)
    _check_header(found.weights, f"{where}: the adapter {shown}")
    return found


def base_of(adapter: LocalAdapter, where: str) -> str | None:
    """The model that the adapter's configuration names, as a persona file calls it. Raises UsageError.

    None where it names none, or only a path that says nothing.
    """
    config = _read_config(adapter, where)
    if is_mlx(config):
        raise UsageError(f"{where}: the adapter is MLX's", hint=MLX_HINT)
    _, problems = parse_config(config)
    if problems:
        raise UsageError("\n  - ".join([f"{where}: the adapter cannot be used:", *problems[:20]]))
    base = config.get("base_model_name_or_path")
    return base_name(base) if isinstance(base, str) and base.strip() and base.isprintable() else None


def runnable(base: str) -> tuple[str, str | None]:
    """The model of full precision in place of a quantised one, and then a notice."""
    plain = unquantised(base)
    if plain is None:
        return base, None
    notice = f"{visible(base, 80)} is quantised, which mpg does not run; the base is {visible(plain, 80)}"
    return plain, f"{notice} (--base names another)"


def repository(value: str) -> str | None:
    """`value` as an id of the hub, OWNER/NAME, or None."""
    match = _REPO.fullmatch(value)
    return match.group(1) if match and ".." not in value and not value.startswith(".") else None


def local_path(value: str, folder: Path | None) -> Path | None:
    """`value` as a path beside the Modelfile, `~` the home folder; None for what no system takes as one."""
    try:
        path = (folder or Path()) / os.path.expanduser(value)
        path.exists()
    except (OSError, ValueError):
        return None
    return path


def _read_config(adapter: LocalAdapter, where: str) -> dict[str, Any]:
    name = f"{where}: {visible(str(adapter.config))}"
    try:
        with adapter.config.open("rb") as file:
            config = parse_json(file.read((8 << 20) + 1), name)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{name}: not the configuration of an adapter")
    return config


def _check_header(weights: Path, what: str) -> None:
    """That the file is safetensors and complete; values are for the loader to judge."""
    try:
        whole = bool(read_header(weights))
    except OSError as error:
        raise UsageError(f"{what}: {visible(weights.name, 60)} cannot be read: {error.strerror}") from None
    except ValueError:
        whole = False
    if not whole:
        raise UsageError(f"{what}: {visible(weights.name, 60)} is damaged or no safetensors file")
