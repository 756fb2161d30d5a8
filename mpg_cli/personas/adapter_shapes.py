"""Compares the shapes of a LoRA adapter's files with a model's files; reads only file headers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from mpg_cli.errors import AdapterError
from mpg_cli.personas.adapter_gguf import gguf_names, read_lora
from mpg_cli.personas.adapter_names import Names, is_not_text, parse_key
from mpg_cli.personas.weight_files import Stored, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
SAMPLE = 4096  # bytes of a weight that are compared

_IN_LAYER = re.compile(r"(?:^|\.)(?P<layer>\d+)\.(?P<kind>.+)$")

Place = tuple[int, str]  # layer and module, as in (3, "self_attn.q_proj")
Shape = tuple[int, ...]


def fits(adapter: Path, model: Mapping[str, Stored]) -> bool | None:
    """Whether an adapter has the shapes and the layers of the model; None if its files are inconclusive.

    Prefixes before the layer's number differ between files and are ignored; modules outside of layers are not
    compared. The loader checks everything.
    """
    if adapter.is_file():
        return _gguf_fits(adapter, model)
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = read_header(adapter / WEIGHTS_FILE)
        if other_weight(tensors, model) is not None:
            return False
    except (OSError, ValueError, RecursionError):
        return None
    return _compare(
        _needed({key: one.shape for key, one in tensors.items()}), model, some=_chooses_layers(config)
    )


def _gguf_fits(adapter: Path, model: Mapping[str, Stored]) -> bool | None:
    """`fits` for a GGUF file, which does not say whether it leaves layers out."""
    try:
        found = read_lora(adapter, str(adapter))
    except AdapterError:
        return None
    names = gguf_names(found.architecture, (name.removesuffix(".weight") for name in model))
    renamed = {
        spelled: model[f"{name}.weight"] for name, spelled in names.items() if f"{name}.weight" in model
    }
    return _compare(_needed({key: one.shape for key, one in found.tensors.items()}), renamed, some=True)


def _compare(needed: Mapping[Place, Shape], model: Mapping[str, Stored], *, some: bool) -> bool | None:
    """Whether the model has the modules that the adapter needs, and the adapter has `some` or all layers."""
    available: dict[Place, set[Shape]] = {}
    for name, tensor in model.items():
        place = _place(name.removesuffix(".weight"))
        if place is not None and len(tensor.shape) == 2:
            available.setdefault(place, set()).add(tensor.shape)
    if any(not {shape, shape[::-1]} & available.get(place, set()) for place, shape in needed.items()):
        return False
    adapted = {kind for _, kind in needed}
    if any(kind in adapted and (layer, kind) not in needed for layer, kind in available):
        return None if some else False
    return bool(needed) or None


def other_weight(adapter: Mapping[str, Stored], model: Mapping[str, Stored]) -> str | None:
    """The name of a full weight in the adapter's file that differs from the model's, by shape or first bytes.

    Raises OSError.
    """
    names = Names(model)
    for key, tensor in adapter.items():
        found = parse_key(key)
        same = names.find(found.name) if found.half is None and not is_not_text(found.name) else []
        if len(same) == 1 and not _begins_like(tensor, model[same[0]]):
            return found.name
    return None


def _begins_like(copy: Stored, own: Stored) -> bool:
    """Whether the copy has the model's shape and first bytes; rows may be missing, dtypes may differ."""
    if copy.shape[1:] != own.shape[1:] or copy.shape[:1] > own.shape[:1]:
        return False
    size = min(SAMPLE, copy.end - copy.begin)
    return copy.dtype != own.dtype or _first(copy, size) == _first(own, size)


def _first(tensor: Stored, size: int) -> bytes:
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin)
        return file.read(size)


def _needed(shapes: Mapping[str, Shape]) -> dict[Place, Shape]:
    """The shape (d_out, d_in) of every adapted module in a layer of the text model, by A and B."""
    halves: dict[Place, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        found = parse_key(key)
        place = _place(found.name)
        if found.half is not None and place is not None and len(shape) == 2:
            halves.setdefault(place, {})[found.half] = shape
    return {place: (of["B"][0], of["A"][1]) for place, of in halves.items() if len(of) == 2}


def _place(module: str) -> Place | None:
    found = None if is_not_text(module) else _IN_LAYER.search(module)
    return (int(found["layer"]), found["kind"]) if found else None


def _chooses_layers(config: object) -> bool:
    """Whether the configuration may select only some of the layers."""
    if not isinstance(config, dict):
        return True
    if config.get("layers_to_transform") is not None or config.get("exclude_modules"):
        return True
    targets = config.get("target_modules")
    return not isinstance(targets, list) or any(re.search(r"\d", str(target)) for target in targets)
