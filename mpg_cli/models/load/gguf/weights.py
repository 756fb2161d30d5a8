"""The weights of a GGUF file under the names and in the layout of transformers, one tensor at a time.

The names are those of the `gguf` package. The reader in transformers drops tensors that it does not know,
parses the vocabulary three times (20 seconds for SmolLM2) and keeps all weights in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from mpg_cli.errors import ModelError
from mpg_cli.io.gguf_header import AGAIN, Header, TensorInfo
from mpg_cli.io.text import visible
from mpg_cli.models.load.gguf.architectures import ARCHITECTURES, SPECIAL

CHUNK = 1 << 24  # numbers dequantised at once, in float32
LISTED = 3  # names in a message


@dataclass(frozen=True)
class Weight:
    """A weight of the model: its name and shape in transformers, and the tensor of the file that holds it."""

    name: str
    shape: tuple[int, ...]
    source: TensorInfo


def match_weights(header: Header, model: Any, label: str) -> tuple[Weight, ...]:
    """The tensor for each weight of the meta model. Raises ModelError if one is missing, odd or left over."""
    architecture = header.text("general.architecture")
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], model.config.num_hidden_layers)
    left = {tensor.name: tensor for tensor in header.tensors if tensor.name not in SPECIAL}
    found, missing = [], []
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        theirs = names.get_name(name, (".weight", ".bias"))
        source = left.pop(theirs, None) if theirs is not None else None
        if source is None:
            missing.append(theirs or name)
        else:
            found.append(Weight(name, _checked(name, weight.shape, source, architecture, label), source))
    if missing or left:
        what = f"lacks {_some(missing)}" if missing else f"has {_some(left)} besides, which mpg does not know"
        raise ModelError(
            f"{label}: its weights are not those of {type(model).__name__}: it {what}",
            hint="choose another file, or the original model in safetensors",
        )
    return tuple(found)


def _checked(
    name: str, shape: tuple[int, ...], source: TensorInfo, architecture: str, label: str
) -> tuple[int, ...]:
    stored = tuple(reversed(source.shape)) if _is_transposed(name, architecture) else source.shape
    if stored != tuple(shape):
        raise ModelError(
            f"{label} is damaged: {visible(source.name, 80)} is {source.shape}, must be {tuple(shape)}",
            hint=AGAIN,
        )
    return stored


def read_weight(header: Header, weight: Weight, config: Any, dtype: torch.dtype, label: str) -> Tensor:
    """The weight in this dtype. Raises ModelError for NaN and infinity."""
    architecture = header.text("general.architecture")
    undo = ARCHITECTURES[architecture].undo
    if undo == "norms" and weight.name.endswith("norm.weight"):
        made = (numbers(header, weight.source, torch.float32) - 1).to(dtype)
    else:
        made = numbers(header, weight.source, dtype)
    if undo == "rows":
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = heads.get(weight.name.split(".")[-2])
        if count is not None:
            made = halves_apart(made, count)
    elif _is_transposed(weight.name, architecture):
        made = made.T
    if not bool(torch.isfinite(made).all()):
        raise ModelError(
            f"{label}: {visible(weight.source.name, 80)} has NaN or infinity in {str(dtype)[6:]}",
            hint="its weights are damaged" if dtype == torch.float32 else "try --dtype float32",
        )
    return made.contiguous()


def halves_apart(rows: Tensor, heads: int) -> Tensor:
    """The rows of q or k with each head's first half before its second, which llama.cpp interleaves."""
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])  # (heads, size / 2, 2, …)
    return pairs.transpose(1, 2).reshape(rows.shape)


def numbers(header: Header, tensor: TensorInfo, dtype: torch.dtype = torch.float32) -> Tensor:
    """The dequantised numbers of a tensor, in its shape."""
    rows = math.prod(tensor.shape[:-1])
    raw = np.memmap(header.path, np.uint8, "r", tensor.start, (rows, tensor.size // rows))
    made = torch.empty(rows, tensor.shape[-1], dtype=dtype)
    step = max(1, CHUNK // tensor.shape[-1])
    kind = gguf.GGMLQuantizationType[tensor.type]
    for start in range(0, rows, step):
        values = gguf.dequantize(np.array(raw[start : start + step]), kind)
        made[start : start + step] = torch.from_numpy(values)
    return made.reshape(tensor.shape)


def _is_transposed(name: str, architecture: str) -> bool:
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return ARCHITECTURES[architecture].undo == "matrices" and name.endswith(matrices)


def _some(names: Mapping[str, Any] | list[str]) -> str:
    shown = ", ".join(visible(name, 60) for name in list(names)[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
