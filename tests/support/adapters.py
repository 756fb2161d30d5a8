"""Random PEFT adapters of tiny models, PEFT's own forward pass with them, and ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.fold import fold
from tests.support.models import ARCHITECTURES, log_probs, tiny_model

PREFIX = "base_model.model."  # of PEFT's names


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


def swap(old: str, new: str) -> Callable[[str], str]:
    """Replaces the first occurrence of a text."""
    return lambda key: key.replace(old, new, 1)


def respelled(folder: Path, spell: Callable[[str], str]) -> Path:
    """The adapter with other keys."""
    with edited_tensors(folder) as tensors:
        renamed = {spell(key): tensor for key, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)
    return folder


def fitted(folder: Path, model: nn.Module) -> Adapter:
    """The adapter as the expert `pirate` of the model."""
    return fit_adapter(read_adapter(folder, "pirate"), model)


def refused(folder: Path, model: nn.Module | None = None) -> str:
    """The error of reading it, or of fitting it to the model; it must name the adapter."""
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder, "pirate") if model is None else fitted(folder, model)
    assert "pirate" in caught.value.message
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def served(folder: Path, model: nn.Module, tokens: Tensor) -> Tensor:
    """Log-probabilities (B, T, V) of the model with the adapter folded in."""
    return log_probs(fold(model, [(fitted(folder, model), 1.0)]), tokens)
