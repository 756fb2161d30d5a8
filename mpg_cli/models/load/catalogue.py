"""Local models: the bundled one, converted GGUF files, the Hugging Face cache, folders. Torch-free.

Reads only config.json and the headers of safetensors files; a model without a `problem` may still fail to
load.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mpg_cli.config.conversions import conversions, find_conversion
from mpg_cli.config.named_models import (
    BUNDLED,
    BUNDLED_FOLDER,
    GET_SMOLLM2,
    NAMES,
    SMOLLM2,
    SMOLLM2_REPO,
    smollm2,
)
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.gguf_header import SUFFIX, gguf_files, is_gguf, read_header, with_own_name
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.models.load import ollama
from mpg_cli.models.load.checkpoint import (
    CONFIG_FILE,
    SERVED_LAYERS,
    check_plain,
    choose_files,
    parameters,
    read_json,
)
from mpg_cli.personas.adapter_place import is_repository

Source = Literal["bundled", "cache", "folder", "file", "converted"]
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_sequence_length")


@dataclass(frozen=True)
class ModelInfo:
    """A model as described by its files. `id` is the value for `--model`.

    `source` is "file" for a GGUF file that is not converted yet, which then is `folder`.
    `size` is in bytes on disk, `context` in positions, `problem` the reason why it cannot be served.
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


@dataclass(frozen=True)
class LocalModels:
    """The models on this disk; `in_use` is the id of the default model of commands."""

    models: tuple[ModelInfo, ...]
    in_use: str
    warnings: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of the models, in order."""
        return [info.id for info in self.models]

    def get(self, name: str) -> ModelInfo:
        """The model with this id, or in this folder. Raises UsageError where there is none."""
        info = _of_name(self.models, name) or local_model(name)
        if info is None:
            raise UsageError(
                f"{visible(name, 80)} is neither the bundled model, in the cache, nor a folder"
                f"{did_you_mean(name, self.ids)}",
                hint=f"mpg models get NAME fetches a model of the hub, {GET_SMOLLM2} a small one",
            )
        return info


def local_models(in_use: str) -> LocalModels:
    """Models with a name, converted ones, those in the cache, and the one in use if it is on this disk."""
    in_cache, warnings = cached()
    found = [*named_models(), *converted(), *in_cache]
    named = _of_name(found, in_use) if in_use in NAMES else local_model(in_use)
    if named is not None and named.id not in {info.id for info in found}:
        found.append(named)
    return LocalModels(tuple(found), named.id if named else in_use, tuple(warnings))


def named_models() -> list[ModelInfo]:
    """The demonstration model of the package, and smollm2 if it is here."""
    place = smollm2()
    found = [bundled()]
    if place is None:
        return found
    conversion = find_conversion(SMOLLM2)
    if place.path.is_dir():
        found.append(read_model(place.path, SMOLLM2, "cache", place.revision))
    elif conversion is not None and conversion.complete:
        found.append(read_model(conversion.folder, SMOLLM2, "converted", place.revision))
    else:
        found.append(replace(_gguf_file(place.path), id=SMOLLM2, revision=place.revision))
    return found


def bundled() -> ModelInfo:
    """The demonstration model of the package."""
    return read_model(BUNDLED_FOLDER, BUNDLED, "bundled")


def cached() -> tuple[list[ModelInfo], list[str]]:
    """Models in the hub cache in the order of their ids, and warnings about the cache.

    A complete copy of smollm2 is left out: it is listed by its name.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    place = smollm2()
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
        if repo.repo_id == SMOLLM2_REPO and place and place.path.is_dir():
            continue
        if (revision.snapshot_path / "config.json").is_file():
            info = read_model(revision.snapshot_path, repo.repo_id, "cache", revision.commit_hash)
            found.append(info)
    return found, [str(warning).splitlines()[0] for warning in cache.warnings]


def converted() -> list[ModelInfo]:
    """The models converted from GGUF files; `id` is that file. smollm2 is listed by its name.

    A conversion with damaged files is left out: loading the file makes it anew.
    """
    done = (one for one in conversions() if one.id != SMOLLM2 and one.complete)
    return [read_model(one.folder, one.id, "converted") for one in done]


def local_model(name: str) -> ModelInfo | None:
    """The model in the folder or the GGUF file `name`, or that of Ollama; None where there is none."""
    if ollama.is_ollama(name):
        return _of_ollama(name)
    path = Path(os.path.expanduser(name))
    files = gguf_files(path)
    if os.path.isdir(path) and len(files) != 1:
        return read_model(path, str(path.resolve()), "folder")
    path = with_own_name(files[0] if files else path)
    if not is_gguf(path):
        return None
    return next((info for info in converted() if info.id == str(path)), None) or _gguf_file(path)


def _of_ollama(name: str) -> ModelInfo | None:
    try:
        blob = ollama.find_blob(name)
    except ModelError:
        return None
    done = next((info for info in converted() if info.id == blob.id), None)
    return done or replace(_gguf_file(blob.path), id=blob.id, revision=blob.digest)


def _gguf_file(path: Path) -> ModelInfo:
    """A GGUF file that is not converted."""
    try:
        header = read_header(path, "file")
    except ModelError as error:
        return ModelInfo(str(path), "file", path, problem=error.message.removeprefix("file "))
    architecture = header.text("general.architecture")
    context = header.metadata.get(f"{architecture}.context_length")
    return ModelInfo(
        id=str(path),
        source="file",
        folder=path,
        architecture=architecture or None,
        dtype=header.quantisation,
        parameters=sum(tensor.count for tensor in header.tensors),
        size=header.size,
        context=context if isinstance(context, int) else None,
    )


def find(name: str) -> ModelInfo | None:
    """The model that `--model name` loads: by name, in a cache, a folder, a file; None: not on this disk."""
    return _of_name([*named_models(), *converted(), *cached()[0]], name) or local_model(name)


def _of_name(models: Sequence[ModelInfo], name: str) -> ModelInfo | None:
    """The model of that id; smollm2 of the hub's cache has its id on the hub as well."""
    wanted = (name, SMOLLM2) if name == SMOLLM2_REPO else (name,)
    here = (info for info in models if info.id in wanted)
    return next((info for info in here if info.id == name or info.source == "cache"), None)


def is_remote(name: str) -> bool:
    """Whether `--model name`, which is not on this disk, can be on the hub."""
    repo, _, file = name.partition(":")
    return is_repository(repo) and not ollama.is_ollama(name) and (bool(file) or not repo.endswith(SUFFIX))


def read_model(folder: Path, identity: str, source: Source, revision: str | None = None) -> ModelInfo:
    """The model in a folder; what is wrong with its files is its `problem`."""
    facts: dict[str, Any] = {"id": identity, "source": source, "folder": folder, "revision": revision}
    try:
        files = sorted(file.name for file in folder.iterdir())
        facts["size"] = sum((folder / file).stat().st_size for file in files if (folder / file).is_file())
        data = read_json(folder / CONFIG_FILE, identity) if CONFIG_FILE in files else {}
        facts |= _described(data)
        choose_files(identity, files)
        check_plain(data, identity)
        _check_layers(data)
        facts["parameters"] = parameters(folder, identity)
    except (ModelError, OSError) as error:
        message = error.message if isinstance(error, ModelError) else str(error)
        message = message.removeprefix(f"model {identity} ").removeprefix(f"model {identity}: ")
        facts["problem"] = message.replace(f"{folder}{os.sep}", "").removesuffix(f" in {folder}")
    return ModelInfo(**facts)


def _described(data: Mapping[str, Any]) -> dict[str, Any]:
    """Architecture, dtype and context of a configuration with values of any type."""
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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
