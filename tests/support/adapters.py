"""Random PEFT adapters of tiny models, and PEFT's own forward pass with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.support.models import ARCHITECTURES, log_probs, tiny_model


def tiny_adapter(
    folder: Path,
    architecture: str = "llama",
    seed: int = 1,
    r: int = 4,
    targets: Sequence[str] | str | None = None,
    base: nn.Module | None = None,
    size: float = 0.1,
    **fields: Any,
) -> Path:
    """Write a random PEFT adapter (A and B non-zero) for `tiny_model(architecture)`; returns its folder.

    `fields` go to peft's LoraConfig (lora_alpha, use_rslora, rank_pattern, …); `size` is the standard
    deviation of the entries of A and B. `base` replaces the model that the adapter is made for.
    """
    from peft import LoraConfig, get_peft_model

    if targets is None:
        targets = ARCHITECTURES[architecture][2]
    config = LoraConfig(
        r=r,
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=architecture == "gpt2",
        **({"lora_alpha": 2 * r, "task_type": "CAUSAL_LM"} | fields),
    )
    wrapped = get_peft_model(deepcopy(base) if base is not None else tiny_model(architecture), config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(size * torch.randn(parameter.shape, generator=generator))
    wrapped.save_pretrained(str(folder))
    return folder


def peft_log_probs(architecture: str, adapter: Path | None, tokens: Tensor, **fields: Any) -> Tensor:
    """The oracle: PEFT's log-probabilities (B, T, V) of the tiny model with one adapter (None: the base)."""
    model = tiny_model(architecture, **fields)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    return log_probs(model, tokens)


@contextmanager
def edited_tensors(folder: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of an adapter, to be changed in place; written back at the end."""
    path = folder / "adapter_model.safetensors"
    tensors: dict[str, Tensor] = load_file(path)
    yield tensors
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def edit_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Set fields of an adapter's adapter_config.json."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(changes)))
