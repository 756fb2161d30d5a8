"""A frozen adapter added to a model while another is trained.

What it has learnt is then no news to the other one. With p0 the base, pn the base that imitates the rejected
replies and pc the one that imitates the chosen ones on top of it, the trained adapter holds pc/pn: what makes
the persona, without what its replies share with the others, as their style and length. Alone on the base it
is p0·pc/pn.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear

from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@contextlib.contextmanager
def added(model: Any, adapter: Path) -> Iterator[None]:
    """Add the LoRA adapter of this folder, as PEFT writes it, to the outputs of the model's layers.

    The weights stay as they are; gradients pass through.
    """
    config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / config["r"]
    tensors = load_file(adapter / WEIGHTS_FILE)
    modules = dict(model.named_modules())
    handles = []
    try:
        for key in filter(lambda name: name.endswith(_A), tensors):
            name = key.removeprefix(_PREFIX).removesuffix(_A)
            device = next(modules[name].parameters()).device
            down, up = (tensors[f"{_PREFIX}{name}{end}"].to(device) for end in (_A, _B))
            handles.append(modules[name].register_forward_hook(_adding(down, up * scale)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _adding(down: Tensor, up: Tensor) -> Callable[..., Tensor]:
    """A hook that adds the product of an input (…, in) with `down` (r, in) and `up` (out, r)."""
    return partial(_added, down, up)


def _added(down: Tensor, up: Tensor, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + linear(linear(inputs[0].to(down.dtype), down), up).to(output.dtype)
