"""LoRA adapters in GGUF, as llama.cpp's convert_lora_to_gguf.py writes them: their headers. Torch-free.

Such a file names modules as GGUF does (`blk.3.attn_q.weight.lora_a`) and has one alpha for all of them, and
neither target modules nor ranks. It means what llama.cpp computes with it (llama-adapter.cpp): the scale of a
module is alpha / r, or 1 where alpha is 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpg_cli.errors import AdapterError, MpgError
from mpg_cli.io.gguf_header import Header, TensorInfo, read_header
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_names import Names, is_not_text
from mpg_cli.personas.model_name import model_id

# Architectures of llama.cpp whose linear layers have the layout of transformers, and the model types there.
PLAIN: Mapping[str, tuple[str, ...]] = {
    "command-r": ("cohere",),
    "cohere2": ("cohere2",),
    "gemma": ("gemma",),
    "gemma2": ("gemma2",),
    "gemma3": ("gemma3_text",),
    "gemma4": ("gemma4_text",),
    "olmo2": ("olmo2", "olmo3"),
    "phi3": ("phi3",),
    "qwen2": ("qwen2",),
    "qwen2vl": ("qwen2_vl_text", "qwen2_5_vl_text"),
    "qwen3": ("qwen3",),
    "qwen3vl": ("qwen3_vl_text",),
    "seed_oss": ("seed_oss",),
    "stablelm": ("stablelm",),
    "starcoder2": ("starcoder2",),
}
# Those for which it interleaves the two halves of each head in the rows of q and k (LlamaModel.permute).
INTERLEAVED: Mapping[str, tuple[str, ...]] = {
    "arcee": ("arcee",),
    "granite": ("granite",),
    "llama": ("llama", "mistral"),
    "mistral3": ("ministral3", "mistral"),
    "smollm3": ("smollm3",),
}
ARCHITECTURES = {**PLAIN, **INTERLEAVED}

_MODEL_HINT = "give it as --model; an adapter has the general.type `adapter`"
_CONVERT_HINT = "use the PEFT adapter that it was converted from"
_TENSOR = re.compile(r"(?P<module>.+)\.weight\.lora_(?P<half>[ab])")
_LISTED = 20  # problems in a message


@dataclass(frozen=True)
class GgufLora:
    """An adapter's header: `tensors` by key in the manner of PEFT, such as `blk.3.attn_q.lora_A.weight`.

    `alpha` is None where the scale is 1; `base_name` is the hub id of the base if the file has it.
    """

    header: Header = field(repr=False)
    architecture: str
    alpha: float | None
    base_name: str | None
    tensors: Mapping[str, TensorInfo] = field(repr=False)


def read_lora(path: Path, where: str, error: type[MpgError] = AdapterError) -> GgufLora:
    """Read the header of an adapter in GGUF; messages begin with `where`.

    Raises `error` for a damaged file, for a model or a control vector, for what is not implemented.
    """
    header = read_header(path, where, error)
    kind, architecture = header.text("general.type"), header.text("general.architecture")
    if architecture == "controlvector":
        raise error(f"{where} is a control vector, not a LoRA adapter", hint="give a LoRA adapter")
    if kind != "adapter":
        raise error(f"{where} is a GGUF model, not an adapter", hint=_MODEL_HINT)
    problems = [*_metadata_problems(header), *_tensor_problems(header)]
    if problems:
        raise error("\n  - ".join([f"{where} cannot be used:", *problems[:_LISTED]]), hint=_CONVERT_HINT)
    tensors = {}
    for tensor in header.tensors:
        found = _TENSOR.fullmatch(tensor.name)
        assert found is not None
        key = f"{found['module']}.lora_{found['half'].upper()}.weight"
        tensors[key] = tensor
    alpha = float(header.metadata.get("adapter.lora.alpha", 0))
    address = header.text("general.base_model.0.repo_url")
    base = model_id(address)
    return GgufLora(header, architecture, alpha or None, base if base != address else None, tensors)


def _metadata_problems(header: Header) -> Iterator[str]:
    kind, architecture = header.text("adapter.type"), header.text("general.architecture")
    if kind != "lora":
        yield f"adapter.type is '{visible(kind, 60)}'; it must be 'lora'"
    if architecture not in ARCHITECTURES:
        yield (
            f"general.architecture is '{visible(architecture, 60)}'; it must be one of "
            f"{', '.join(sorted(ARCHITECTURES))}"
        )
    if header.metadata.get("adapter.alora.invocation_tokens"):
        yield "adapter.alora.invocation_tokens: activated LoRA switches on in the middle of the prompt"
    alpha = header.metadata.get("adapter.lora.alpha", 0)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        yield f"adapter.lora.alpha is {visible(str(alpha), 60)}; it must be a finite number"


def _tensor_problems(header: Header) -> Iterator[str]:
    """A line for each kind of problem, with the first tensor that has it."""
    if not header.tensors:
        yield "it holds no tensors"
    names: dict[str, list[str]] = {}
    for tensor in header.tensors:
        found = _TENSOR.fullmatch(tensor.name)
        if found is None and tensor.name.endswith("_norm.weight"):
            names.setdefault("is a whole weight, which llama.cpp ignores; not implemented", []).append(
                tensor.name
            )
        elif found is None:
            names.setdefault("unknown tensor", []).append(tensor.name)
        elif found["module"] == "token_embd":
            names.setdefault("adapts an embedding; not implemented", []).append(tensor.name)
        elif len(tensor.shape) > 2:
            text = "adapts the experts of a mixture-of-experts layer; not implemented"
            names.setdefault(text, []).append(tensor.name)
    for text, those in names.items():
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        yield f"{visible(those[0], 100)}{more}: {text}"


def gguf_names(architecture: str, names: Iterable[str]) -> dict[str, str]:
    """The names in GGUF of a model's modules, by their own names, as far as the architecture has them."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    own = [name for name in names if not is_not_text(name)]
    layers = [int(index) for name in own for index in re.findall(r"\.(\d{1,6})\.", name)]
    spelled = get_tensor_name_map(number, max(layers, default=0) + 1)
    split = Names(()).split
    found = {}
    for name in own:
        core = split(name)[1]
        for prefix in ("model.", "", "transformer."):
            if (other := spelled.get_name(prefix + core)) is not None:
                found[name] = other
                break
    return found
