"""Inspection of a model folder before loading: is it complete, and can it be served exactly?

Reads files and configurations, no weights.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.errors import ModelError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
TEXT_FILES = (".json", ".jinja", ".txt", ".model")  # configuration, templates, vocabularies
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tiktoken.model",
)
SERVED_LAYERS = ("full_attention", "sliding_attention")
SERVED_CACHES = (  # of transformers; DummyLayer is for layers that share the keys of another layer
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "DummyLayer",
)
CACHE_NAMES = ("cache", "past_key_values")  # name of the argument since transformers 5.24, and before

LISTED = 12  # files in a message
AGAIN = "fetch the model again"


@dataclass(frozen=True)
class Checkpoint:
    """A complete folder: its parsed config.json and its number of parameters."""

    folder: Path
    data: dict[str, Any]
    parameters: int


def choose_files(name: str, files: Sequence[str]) -> list[str]:
    """The files of a hub repository to download for a model, without the shards listed in its index.

    Raises ModelError, before any download, where there is no model or none in safetensors.
    """
    top = [file for file in files if "/" not in file]
    if CONFIG_FILE not in top:
        raise _no_config(name, files)
    if WEIGHTS_FILE not in top and INDEX_FILE not in top:
        raise _no_weights(name, top)
    weights = [] if INDEX_FILE in top else [WEIGHTS_FILE]
    templates = [file for file in files if file.startswith("additional_chat_templates/")]
    return [*(file for file in top if file.endswith(TEXT_FILES)), *templates, *weights]


def weight_files(folder: Path, name: str) -> list[str]:
    """The safetensors files of a model: the shards in its index, or the single file of a model without one.

    Raises ModelError where the index cannot be read, or lists anything but safetensors within the folder.
    """
    if not (folder / INDEX_FILE).is_file():
        return [WEIGHTS_FILE]
    weight_map = read_json(folder / INDEX_FILE, name).get("weight_map")
    shards = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not shards or not all(isinstance(shard, str) for shard in shards):
        raise ModelError(f"model {name}: {INDEX_FILE} has no weight map", hint=AGAIN)
    for shard in sorted(set(shards)):
        if not shard.endswith(".safetensors") or "\\" in shard or {"", ".."} & set(shard.split("/")):
            raise ModelError(
                f"model {name}: {INDEX_FILE} lists {shard!r}, which is not a safetensors file in the folder",
                hint="choose a revision or a copy with safetensors",
            )
    return sorted(set(shards))


def is_complete(folder: Path) -> bool:
    """Whether a folder of the hub cache holds all weights and a tokenizer: a complete download."""
    try:
        weights = weight_files(folder, folder.name)
    except ModelError:
        return False
    return all((folder / file).is_file() for file in weights) and any(
        (folder / file).is_file() for file in VOCABULARIES
    )


def inspect_folder(folder: Path, name: str) -> Checkpoint:
    """Check that the folder holds a complete model in safetensors without custom code.

    Raises ModelError for missing, damaged or unsupported files.
    """
    top = sorted(file.name for file in folder.iterdir())
    if CONFIG_FILE not in top:
        raise _no_config(name, top)
    data = read_json(folder / CONFIG_FILE, name)
    check_config(data, name)
    if WEIGHTS_FILE not in top and INDEX_FILE not in top:
        raise _no_weights(name, top)
    return Checkpoint(folder, data, parameters(folder, name))


def parameters(folder: Path, name: str) -> int:
    """Number of parameters in the headers of the weights. Raises ModelError for missing or damaged files."""
    weights = weight_files(folder, name)
    missing = [file for file in weights if not (folder / file).is_file()]
    if missing:
        raise ModelError(f"model {name}: {_some(missing)} missing in {folder}", hint=AGAIN)
    return sum(_count(folder / file, name) for file in weights)


def check_class(model_class: Any, config: Any, name: str) -> None:
    """Check that the cache of this model class can be rolled back.

    Recurrent and hybrid models roll back without an error and are silently wrong afterwards.
    Raises ModelError with the reason.
    """
    text = config.get_text_config()
    kinds = [str(kind) for kind in getattr(text, "layer_types", None) or ()]
    other = sorted(set(kinds) - set(SERVED_LAYERS))
    if other or getattr(model_class, "_is_stateful", False):
        what = f"layers of type {', '.join(other)}" if other else "a recurrent state"
        raise ModelError(
            f"model {name} ({text.model_type}) has {what}: rejected drafts could not be rolled back exactly",
            hint="choose a model with plain or sliding-window attention, such as Qwen3, Llama or Mistral",
        )
    if "local" in (getattr(text, "attention_layers", None) or ()):
        raise ModelError(
            f"model {name} ({text.model_type}) masks its local layers by cache index, not by position",
            hint="choose a model with plain or sliding-window attention, such as Qwen3, Llama or Mistral",
        )
    accepts = inspect.signature(model_class.forward).parameters
    caches = any(name in accepts for name in CACHE_NAMES)
    if not caches or "position_ids" not in accepts or getattr(text, "alibi", False):
        what = "explicit positions" if caches else "a key-value cache"
        raise ModelError(f"model {name} ({text.model_type}) does not take {what}, which decoding needs")
    if any(type(layer).__name__ not in SERVED_CACHES for layer in _cache(config)):
        raise ModelError(f"model {name} ({text.model_type}) caches other state than keys and values")


def cache_argument(model_class: Any) -> str:
    """Name of the cache argument in the forward pass of a model class."""
    accepts = inspect.signature(model_class.forward).parameters
    return next((name for name in CACHE_NAMES if name in accepts), CACHE_NAMES[0])


def _cache(config: Any) -> list[Any]:
    """The cache layers that transformers creates for the configuration."""
    from transformers import DynamicCache

    return list(DynamicCache(config=config).layers)


def check_config(data: dict[str, Any], name: str) -> None:
    """Raise ModelError for a config.json that cannot be served."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = data.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        if data.get("auto_map"):
            raise ModelError(
                f"model {name} needs remote code (auto_map), which is never run",
                hint="choose a model that transformers supports natively",
            )
        raise ModelError(
            f"model {name}: the installed transformers does not support model_type {kind!r}",
            hint="try a newer transformers, or choose another model",
        )
    check_plain(data, name)


def check_plain(data: Mapping[str, Any], name: str) -> None:
    """The part of `check_config` that does not need transformers."""
    kind = data.get("model_type")
    quantised = data.get("quantization_config") or data.get("compression_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise ModelError(
            f"model {name} is quantised ({method or 'quantization_config'}), which is not supported",
            hint="choose the unquantised model",
        )
    if data.get("is_encoder_decoder"):
        raise ModelError(
            f"model {name} ({kind}) is an encoder-decoder, not a causal language model",
            hint="choose a decoder-only model",
        )


def _no_config(name: str, files: Sequence[str]) -> ModelError:
    if "adapter_config.json" in files:
        return ModelError(
            f"{name} is an adapter, not a model",
            hint=f"give its base with --model and the adapter with --adapter {name}",
        )
    if gguf := sorted(file for file in files if file.endswith(".gguf")):
        more = f" and {len(gguf) - LISTED} more" if len(gguf) > LISTED else ""
        return ModelError(
            f"model {name} has no {CONFIG_FILE} but GGUF files: {', '.join(gguf[:LISTED])}{more}",
            hint=f"choose one: --model {name}:{gguf[0]}",
        )
    return ModelError(f"model {name} has no {CONFIG_FILE}", hint="give a folder written by save_pretrained")


def _no_weights(name: str, files: Sequence[str]) -> ModelError:
    pickled = [file for file in files if file.endswith(PICKLED)]
    if pickled:
        return ModelError(
            f"model {name} has its weights as pickle only ({pickled[0]}), which can run code on loading",
            hint="choose a revision or a copy with safetensors",
        )
    return ModelError(f"model {name} has no {WEIGHTS_FILE} and no {INDEX_FILE}")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of the model `name`. Raises ModelError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {name}: {path} is not readable JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"model {name}: {path} must hold a JSON object")
    return data


def is_pointer(path: Path) -> bool:
    """Whether a file is a Git LFS pointer."""
    with path.open("rb") as raw:
        return raw.read(24).startswith(b"version https://git-lfs")


def _count(path: Path, name: str) -> int:
    """Parameters in a safetensors file, from its header, which also reveals a truncated file."""
    from safetensors import SafetensorError, safe_open

    if is_pointer(path):
        raise ModelError(
            f"model {name}: {path.name} is a Git LFS pointer, not the weights",
            hint="run `git lfs pull` there",
        )
    try:
        with safe_open(str(path), framework="np") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(f"model {name}: {path} is truncated or damaged ({error})", hint=AGAIN) from None


def _some(names: Sequence[str]) -> str:
    """A list cut to a readable length."""
    more = f" and {len(names) - 3} more are" if len(names) > 3 else " is" if len(names) == 1 else " are"
    return ", ".join(names[:3]) + more
