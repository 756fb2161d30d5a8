"""Models on the meta device, made from config.json, to check whether an adapter fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mpg_cli.errors import AdapterError, ModelError
from mpg_cli.models.load.adapter import MERGE_HINT, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.load.checkpoint import CONFIG_FILE, check_config, read_json
from mpg_cli.models.load.device import choose_device
from mpg_cli.models.load.loader import model_folder, read_config
from mpg_cli.models.load.sources import fetch_adapter, find_model, silence
from mpg_cli.models.load.tokenizer import load_tokenizer
from mpg_cli.models.text.vocabulary import check_same, embedded
from mpg_cli.personas.adapter_folder import gguf_file
from mpg_cli.personas.adapter_shapes import WEIGHTS_FILE, other_weight
from mpg_cli.personas.schema import AdapterEntry
from mpg_cli.personas.weight_files import model_tensors, read_header


@dataclass(frozen=True)
class MetaModel:
    """A causal language model whose parameters have shapes but no values."""

    id: str
    model: Any = field(repr=False)
    folder: Path = field(repr=False)


def load_meta_model(name: str) -> MetaModel:
    """Build a model by a name that `find_model` knows without fetching or reading weights.

    A GGUF file is fetched and converted, as `load_model` does. Raises ModelError as `load_model` does for
    problems of the configuration.
    """
    with silence():
        found = find_model(name, config_only=True)
        folder, _, _ = model_folder(found, "auto", choose_device().value)
        identity = found.id
        if not (folder / CONFIG_FILE).is_file():
            raise ModelError(
                f"model {identity} has no {CONFIG_FILE}", hint="give a folder written by save_pretrained"
            )
        check_config(read_json(folder / CONFIG_FILE, identity), identity)
        config, model_class = read_config(folder, identity)
        try:
            with torch.device("meta"):
                model = model_class(config)
        except Exception as error:  # any type, for an invalid config.json
            raise ModelError(f"model {identity}: config.json is not valid: {error}") from error
    return MetaModel(identity, model, folder)


def check_entry(entry: AdapterEntry, label: str, base: MetaModel) -> None:
    """Check that the local files of the entry fit the base by their shapes.

    Raises AdapterError or ModelError. The values of adapters are checked too, and copies of base weights in
    their files compared with the base if its weights are local.
    """
    path = entry.resolved_path()
    if entry.checkpoint is not None:
        other = load_meta_model(str(path or entry.checkpoint))
        tokenizers = _tokenizer(base), _tokenizer(other)
        if all(tokenizers) and (difference := check_same(*tokenizers, embedded(other.model))):
            raise AdapterError(
                f"checkpoint {entry.checkpoint} has another tokenizer than {base.id}: {difference}"
            )
        return
    if path is None:
        path = fetch_adapter(entry.repo or "", entry.revision, entry.subfolder, offline=True)
    fit_adapter(read_adapter(path, label), base.model)
    tensors = model_tensors(base.folder) if gguf_file(path) is None else None
    if tensors is not None and (differing := other_weight(read_header(path / WEIGHTS_FILE), tensors)):
        raise AdapterError(
            f"adapter {label} ({path}) does not fit the model:\n"
            f"  - {differing}: the file has a version that differs from the base; not implemented",
            hint=MERGE_HINT,
        )


def _tokenizer(meta: MetaModel) -> Any:
    """The tokenizer; None where only the configuration is local."""
    try:
        with silence():
            return load_tokenizer(meta.folder, meta.id)
    except ModelError:
        return None
