"""The key of a profile: model, experts, scheme and machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from mpg_cli import __version__
from mpg_cli.engine.run_spec import PROFILE, ModelSpec, scheme_json
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel, short_digest, weights_digest
from mpg_cli.sampling.params import Scheme


def profile_key(loaded: LoadedModel, experts: Sequence[Expert], scheme: Scheme) -> dict[str, Any]:
    """The key of a blend on a loaded model, as JSON."""
    parts = ModelSpec.of(loaded).as_json() | scheme_json(scheme)
    key = {name: parts[name] for name in PROFILE}
    if key["threshold"]:
        del key["threshold"]["candidates"]  # tuning varies it
    return {
        **key,
        "weights": weights_digest(loaded.model),
        "experts": sorted((expert_key(expert) for expert in experts), key=str),
        "device": device_name(loaded.device.value),
        "threads": torch.get_num_threads() if loaded.device.value.type == "cpu" else None,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a profile depends on."""
    return {
        "mpg": __version__,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }


def expert_key(expert: Expert) -> list[Any]:
    """Name and weight of an expert, with digests of its adapter, checkpoint and prompt."""
    checkpoint = None if expert.checkpoint is None else weights_digest(expert.checkpoint)
    adapter = expert.adapter.fingerprint if expert.adapter else None
    return [expert.name, expert.weight, adapter, checkpoint, short_digest((expert.prompt or "").encode())]


def device_name(device: torch.device) -> str:
    """Name of the hardware, not only the device index."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
