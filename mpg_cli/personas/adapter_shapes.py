"""Whether a LoRA adapter's files have the shapes of a model's files. Headers alone are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from mpg_cli.personas.weight_files import Stored, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.[^.]+)?\.weight")
_IN_LAYER = re.compile(r"\.(?P<layer>\d+)\.(?P<kind>.+)$")
_OTHER_TOWERS = re.compile(r"vision|visual|audio|image")

Place = tuple[int, str]  # layer and module in it, as in (3, "self_attn.q_proj")


def fits(adapter: Path, model: Mapping[str, Stored]) -> bool | None:
    """Whether an adapter has the shapes and the layers of the model; None where its files do not tell.

    Prefixes of names differ between files, so layers are compared; the loader knows all of it.
    """
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
        needed = _needed(read_header(adapter / WEIGHTS_FILE))
    except (OSError, ValueError, RecursionError):
        return None
    there: dict[Place, set[tuple[int, ...]]] = {}
    for name, tensor in model.items():
        place = _place(name.removesuffix(".weight"))
        if place is not None and len(tensor.shape) == 2 and not _OTHER_TOWERS.search(name):
            there.setdefault(place, set()).add(tensor.shape)
    kinds = {kind for _, kind in there}
    known = {place: shape for place, shape in needed.items() if place[1] in kinds}
    if needed and not known:
        return False
    if any(not {shape, shape[::-1]} & there.get(place, set()) for place, shape in known.items()):
        return False
    adapted = {kind for _, kind in known}
    if any(kind in adapted and (layer, kind) not in known for layer, kind in there):
        return None if _chooses_layers(config) else False
    return bool(known) or None


def _needed(tensors: Mapping[str, Stored]) -> dict[Place, tuple[int, int]]:
    """The shape (d_out, d_in) of every module that is adapted in a layer."""
    halves: dict[Place, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        found = _LORA.fullmatch(name)
        place = _place(found["module"]) if found else None
        if found and place is not None and len(tensor.shape) == 2:
            halves.setdefault(place, {})[found["half"]] = tensor.shape
    return {place: (of["B"][0], of["A"][1]) for place, of in halves.items() if len(of) == 2}


def _place(module: str) -> Place | None:
    found = _IN_LAYER.search(module)
    return (int(found["layer"]), found["kind"]) if found else None


def _chooses_layers(config: object) -> bool:
    """Whether the configuration may mean some of the layers only."""
    if not isinstance(config, dict) or config.get("layers_to_transform") is not None:
        return True
    targets = config.get("target_modules")
    return not isinstance(targets, list) or any(re.search(r"\d", str(target)) for target in targets)
