"""LoRA adapters in GGUF on a model: its module names, and the layout of transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.gguf.weights import halves_apart
from mpg_cli.personas.adapter_config import Targets
from mpg_cli.personas.adapter_gguf import ARCHITECTURES, INTERLEAVED, gguf_names

if TYPE_CHECKING:
    from mpg_cli.models.load.adapter import Adapter


def of_model(adapter: Adapter, model: nn.Module) -> Adapter:
    """An adapter read from GGUF, with the modules of the model and the layout of transformers.

    Modules that the model lacks keep their name in GGUF. Raises AdapterError for another architecture.
    """
    architecture = adapter.architecture or ""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config()
    if config.model_type not in ARCHITECTURES[architecture]:
        raise AdapterError(
            f"adapter {adapter.label} ({adapter.path}) does not fit the model: it is for the architecture "
            f"{architecture} of llama.cpp, and the model is of type {config.model_type}",
            hint="use an adapter made for exactly this model",
        )
    places: dict[str, list[str]] = {}
    for name, spelled in gguf_names(architecture, dict(model.named_modules())).items():
        places.setdefault(spelled, []).append(name)
    pairs = {}
    for spelled, pair in adapter.pairs.items():
        heads = _heads(spelled, config) if architecture in INTERLEAVED else None
        if heads is not None and len(pair.b) % (2 * heads) == 0:  # else fit_adapter names the shapes
            pair = replace(pair, b=halves_apart(pair.b, heads))
        found = places.get(spelled, [])
        pairs[found[0] if len(found) == 1 else spelled] = pair
    return replace(adapter, pairs=pairs, targets=Targets(tuple(pairs)), architecture=None)


def _heads(module: str, config: Any) -> int | None:
    """The number of heads in the rows of a module of queries or keys; None for other modules."""
    if module.endswith(".attn_q"):
        return int(config.num_attention_heads)
    if module.endswith(".attn_k"):
        return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    return None
