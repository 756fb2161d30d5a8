"""GGUF files converted to what transformers loads: once for a file and a dtype, in the cache.

A conversion is a folder like one of `save_pretrained`, made beside its place and renamed when it is complete.
Its name holds a digest of the header, of a sample of every tensor and of the size: enough to tell the files
of different models apart, wherever they are, and read in milliseconds; all of a large file takes a minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mpg_cli.config.conversions import SOURCE_FILE, conversions_dir, read_conversion
from mpg_cli.errors import ModelError, brief
from mpg_cli.io.files import lock, staged_folder, swapped_in, write_atomic
from mpg_cli.io.gguf_header import Header, read_header
from mpg_cli.io.text import size_text, visible
from mpg_cli.models.load.checkpoint import CONFIG_FILE, INDEX_FILE, check_class
from mpg_cli.models.load.gguf.architectures import ARCHITECTURES, Fields, configuration
from mpg_cli.models.load.gguf.tokenizer import end_tokens, write_tokenizer
from mpg_cli.models.load.gguf.weights import match_weights, numbers, read_weight
from mpg_cli.models.load.own_sampling import from_metadata

FORMAT = 1  # of conversions; a change makes them anew
SHARD_BYTES = 2_000_000_000
SAMPLE = 1024  # bytes of each tensor in the digest
WAIT = 0.5  # seconds between looks at the lock
_OTHER_FILES = 50_000_000  # bytes, for the tokenizer
_PUBLISHED = ("general.source.huggingface.repository", "general.source.repo_url", "general.source.url")


@dataclass(frozen=True)
class Gguf:
    """A GGUF file that can be loaded: its header, and the id and label of its model in messages."""

    header: Header
    id: str

    @property
    def label(self) -> str:
        return f"model {self.id}"

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(tensor.count for tensor in self.header.tensors)


def open_gguf(path: Path, identity: str) -> Gguf:
    """Read a file's header and check what it is. Raises ModelError where it cannot be served."""
    header = read_header(path, f"model {identity}")
    found = Gguf(header, identity)
    kind, architecture = header.text("general.type"), header.text("general.architecture")
    if kind == "adapter":
        raise ModelError(
            f"{identity} is an adapter, not a model", hint=f"give its base with --model, and --adapter {path}"
        )
    if kind == "mmproj" or architecture == "clip":
        raise ModelError(
            f"{found.label} is a vision projector, a part of a multimodal model",
            hint="give the GGUF file of its language model",
        )
    if header.metadata.get("split.count", 0) not in (0, 1) or re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name):
        raise ModelError(
            f"{found.label} is one part of a split file, which is not supported",
            hint="join the parts with `llama-gguf-split --merge FIRST-PART NEW-FILE`",
        )
    if architecture not in ARCHITECTURES:
        named = (
            f"of the architecture {visible(architecture, 40)}" if architecture else "without an architecture"
        )
        raise ModelError(
            f"{found.label} is a GGUF file {named}; mpg reads those of {', '.join(ARCHITECTURES)}",
            hint="give the original model in safetensors by its hub id or folder",
        )
    return found


def convert(file: Gguf, dtype: torch.dtype, report: Callable[[str], None] = lambda text: None) -> Path:
    """The folder of the converted model, made unless it is there in full; `report` gets progress messages.

    A second process that converts waits for the first. Raises ModelError where the file cannot be converted
    exactly, the disk lacks the space or the cache cannot be written.
    """
    target = conversions_dir() / _folder_name(file.header, dtype)
    try:
        if not _is_complete(target):
            conversions_dir().mkdir(parents=True, exist_ok=True)
            with _only_one(report):
                if not _is_complete(target):
                    _check_space(file, dtype)
                    with staged_folder(target) as staged:
                        _write(file, dtype, staged, report)
                        _write_source(file, staged)
                        with swapped_in(staged, target):
                            pass
    except OSError as error:
        raise ModelError(
            f"{file.label} cannot be converted: {error.strerror or error}",
            hint=f"check {visible(str(conversions_dir()))}, or set XDG_CACHE_HOME to another place",
        ) from error
    made = read_conversion(target)
    if made is not None and made.id != file.id:  # the file has moved
        with contextlib.suppress(OSError):  # a cache that is read only lists it under the old name
            _write_source(file, target)
    return target


def _is_complete(folder: Path) -> bool:
    made = read_conversion(folder)
    return made is not None and made.complete


def memory_notice(file: Gguf, dtype: torch.dtype) -> list[str]:
    """The notice about the memory that a quantised file takes, if it is one."""
    header = file.header
    if header.quantisation in ("F32", "F16", "BF16"):
        return []
    return [
        f"{header.path.name} is {header.quantisation} ({size_text(header.size)}); dequantised to "
        f"{str(dtype)[6:]} it takes {size_text(_bytes(file, dtype))} of memory"
    ]


def write_model(file: Gguf, dtype: torch.dtype, folder: Path, report: Callable[[str], None]) -> Any:
    """Write configuration and weights; returns the configuration. Raises ModelError."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    header, label = file.header, file.label
    tensors = {tensor.name: tensor for tensor in header.tensors}
    fields = Fields(header, label, lambda name: numbers(header, tensors[name]).flatten().tolist())
    made = configuration(fields)
    try:
        config = CONFIG_MAPPING[made.pop("model_type")](**made, **_special_ids(header))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # any type, for values that do not go together
        raise ModelError(
            f"{label}: its metadata do not go together: {brief(error)}",
            hint="choose another file of the model",
        ) from error
    check_class(type(model), config, file.id)
    weights = match_weights(header, model, label)
    config.architectures, config.dtype = [type(model).__name__], dtype
    described = json.loads(config.to_json_string()) | {"_name_or_path": published_name(header) or file.id}
    (folder / CONFIG_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    _write_weights(file, weights, config, dtype, folder, report)
    return config


def published_name(header: Header) -> str:
    """The name of the model in its metadata: a hub id, or as its parts spell it; "" where there is none."""
    for key in _PUBLISHED:
        value = header.text(key).removeprefix("https://huggingface.co/").strip("/")
        if re.fullmatch(r"[\w.-]+/[\w.-]+", value):
            return value
    parts = [header.text(f"general.{part}") for part in ("basename", "size_label", "finetune", "version")]
    named = "-".join(part for part in parts if part) if parts[0] else header.text("general.name")
    return re.sub(r"\s+", "-", visible(named, 100).strip())


def _write(file: Gguf, dtype: torch.dtype, folder: Path, report: Callable[[str], None]) -> None:
    # The tokenizer first: it takes a second, and may be refused.
    write_tokenizer(file.header.metadata, folder, file.id)
    config = write_model(file, dtype, folder, report)
    generation = _generation(file, config)
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def _write_weights(
    file: Gguf,
    weights: tuple[Any, ...],
    config: Any,
    dtype: torch.dtype,
    folder: Path,
    report: Callable[[str], None],
) -> None:
    """Write model.safetensors, or shards and their index; no more than one shard is in memory."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    by_name = {weight.name: weight for weight in weights}
    shapes = {name: torch.empty(weight.shape, dtype=dtype, device="meta") for name, weight in by_name.items()}
    split = split_torch_state_dict_into_shards(shapes, max_shard_size=SHARD_BYTES)
    done, total = 0, max(1, sum(weight.source.count for weight in weights))
    for name, names in split.filename_to_tensors.items():
        shard = {}
        for one in names:
            shard[one] = read_weight(file.header, by_name[one], config, dtype, file.label)
            done += by_name[one].source.count
            report(f"converting {file.header.path.name}: {100 * done // total} %")
        try:
            save_file(shard, folder / name, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(brief(error)) from error
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _special_ids(header: Header) -> dict[str, int | None]:
    """The ids of the special tokens; None, not the default of the class, where the file has none."""
    keys = {
        "bos_token_id": "bos_token_id",
        "eos_token_id": "eos_token_id",
        "pad_token_id": "padding_token_id",
    }
    return {name: _token_id(header.metadata, f"tokenizer.ggml.{key}") for name, key in keys.items()}


def _token_id(metadata: Mapping[str, Any], key: str) -> int | None:
    value, tokens = metadata.get(key), metadata.get("tokenizer.ggml.tokens")
    known = isinstance(tokens, list) and isinstance(value, int) and 0 <= value < len(tokens)
    return int(value) if known and value is not None else None


def _generation(file: Gguf, config: Any) -> dict[str, Any]:
    """The generation configuration: what ends a reply, and the sampling that the file recommends."""
    metadata = file.header.metadata
    made: dict[str, Any] = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": end_tokens(metadata, file.id) or None,
        "pad_token_id": config.pad_token_id,
        **from_metadata(metadata),
    }
    return {key: value for key, value in made.items() if value is not None}


def _write_source(file: Gguf, folder: Path) -> None:
    sizes = {one.name: one.stat().st_size for one in folder.iterdir() if one.name != SOURCE_FILE}
    data = {"id": file.id, "quantisation": file.header.quantisation, "format": FORMAT, "files": sizes}
    write_atomic(folder / SOURCE_FILE, json.dumps(data, indent=2) + "\n", error=None)


def _folder_name(header: Header, dtype: torch.dtype) -> str:
    digest = hashlib.blake2b(f"{FORMAT} {header.size} ".encode(), digest_size=8)
    with header.path.open("rb") as file:
        digest.update(file.read(min((tensor.start for tensor in header.tensors), default=header.size)))
        for tensor in header.tensors:
            file.seek(tensor.start + max(0, tensor.size - SAMPLE) // 2)
            digest.update(file.read(min(SAMPLE, tensor.size)))
    name = published_name(header).rpartition("/")[2] or header.text("general.architecture")
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60]}-{digest.hexdigest()}-{str(dtype)[6:]}"


@contextmanager
def _only_one(report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of conversions; what a killed process left is removed."""
    taken = ModelError("another process converts a model")
    while True:
        try:
            stream = lock(conversions_dir() / ".lock", taken)
            break
        except ModelError:
            report("waiting for another process that converts a model")
            time.sleep(WAIT)
    with stream:
        for left in conversions_dir().glob(".*.new"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _check_space(file: Gguf, dtype: torch.dtype) -> None:
    needed, free = _bytes(file, dtype) + _OTHER_FILES, shutil.disk_usage(conversions_dir()).free
    if needed > free:
        raise ModelError(
            f"{file.label} takes {size_text(needed)} as {str(dtype)[6:]}, and the disk of "
            f"{visible(str(conversions_dir()))} has {size_text(free)} left",
            hint="make room (`mpg models` lists what is there), choose a smaller --dtype, or set "
            "XDG_CACHE_HOME to a folder on another disk",
        )


def _bytes(file: Gguf, dtype: torch.dtype) -> int:
    return file.parameters * dtype.itemsize
