"""Whether a LoRA adapter's files have the shapes of a model's files. Headers alone are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from mpg_cli.personas.adapter_names import Names, beside_text, parse_key
from mpg_cli.personas.weight_files import Stored, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
SAMPLE = 4096  # bytes that two weights are compared by

_IN_LAYER = re.compile(r"(?:^|\.)(?P<layer>\d+)\.(?P<kind>.+)$")

Place = tuple[int, str]  # layer and module in it, as in (3, "self_attn.q_proj")
Shape = tuple[int, ...]


def fits(adapter: Path, model: Mapping[str, Stored]) -> bool | None:
    """Whether an adapter has the shapes and the layers of the model; None where its files do not tell.

    What stands before a layer's number differs between files and does not count, and modules outside of
    layers are not compared: the loader knows all of it.
    """
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = read_header(adapter / WEIGHTS_FILE)
        if other_weight(tensors, model) is not None:
            return False
    except (OSError, ValueError, RecursionError):
        return None
    there: dict[Place, set[Shape]] = {}
    for name, tensor in model.items():
        place = _place(name.removesuffix(".weight"))
        if place is not None and len(tensor.shape) == 2:
            there.setdefault(place, set()).add(tensor.shape)
    needed = _needed(tensors)
    if any(not {shape, shape[::-1]} & there.get(place, set()) for place, shape in needed.items()):
        return False
    adapted = {kind for _, kind in needed}
    if any(kind in adapted and (layer, kind) not in needed for layer, kind in there):
        return None if _chooses_layers(config) else False
    return bool(needed) or None


def other_weight(adapter: Mapping[str, Stored], model: Mapping[str, Stored]) -> str | None:
    """The name of a whole weight that the adapter's file brings and that is not the model's.

    Their shapes and first bytes are compared. Raises OSError.
    """
    names = Names(model)
    for key, tensor in adapter.items():
        found = parse_key(key)
        same = names.find(found.name) if found.half is None and not beside_text(found.name) else []
        if len(same) == 1 and not _begins_like(tensor, model[same[0]]):
            return found.name
    return None


def _begins_like(copy: Stored, own: Stored) -> bool:
    """Rows may be missing at the end; what has another type is not compared."""
    if copy.shape[1:] != own.shape[1:] or copy.shape[:1] > own.shape[:1]:
        return False
    size = min(SAMPLE, copy.end - copy.begin)
    return copy.dtype != own.dtype or _first(copy, size) == _first(own, size)


def _first(tensor: Stored, size: int) -> bytes:
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin)
        return file.read(size)


def _needed(tensors: Mapping[str, Stored]) -> dict[Place, Shape]:
    """The shape (d_out, d_in) of every module that is adapted in a layer that text passes."""
    halves: dict[Place, dict[str, Shape]] = {}
    for key, tensor in tensors.items():
        found = parse_key(key)
        place = _place(found.name)
        if found.half is not None and place is not None and len(tensor.shape) == 2:
            halves.setdefault(place, {})[found.half] = tensor.shape
    return {place: (of["B"][0], of["A"][1]) for place, of in halves.items() if len(of) == 2}


def _place(module: str) -> Place | None:
    found = None if beside_text(module) else _IN_LAYER.search(module)
    return (int(found["layer"]), found["kind"]) if found else None


def _chooses_layers(config: object) -> bool:
    """Whether the configuration may mean some of the layers only."""
    if not isinstance(config, dict):
        return True
    if config.get("layers_to_transform") is not None or config.get("exclude_modules"):
        return True
    targets = config.get("target_modules")
    return not isinstance(targets, list) or any(re.search(r"\d", str(target)) for target in targets)
