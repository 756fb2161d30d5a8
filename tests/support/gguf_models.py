"""GGUF files of tiny models as llama.cpp's converters write them.

The keys and the changes of weights follow convert_hf_to_gguf.py and convert_lora_to_gguf.py, which the `gguf`
package does not contain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SIZES: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0},
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 2.5],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": 256,
}
BASE = 20_000.0


@dataclass(frozen=True)
class Tiny:
    """An architecture of llama.cpp, its model type in transformers, and fields of the configuration."""

    architecture: str
    model_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def _rope(kind: str, **rest: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": BASE, **rest}}


TINY = {
    "llama": Tiny("llama", "llama"),
    "llama-tied": Tiny("llama", "llama", {"tie_word_embeddings": True, "head_dim": 24}),
    "llama-bias": Tiny("llama", "llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-3.1": Tiny("llama", "llama", {"rope_parameters": LLAMA3}),
    "llama-linear": Tiny("llama", "llama", _rope("linear", factor=4.0)),
    "mistral": Tiny("llama", "mistral", {"sliding_window": None}),
    "qwen2": Tiny("qwen2", "qwen2"),
    "qwen2-yarn": Tiny("qwen2", "qwen2", _rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen3": Tiny("qwen3", "qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": Tiny(
        "gemma2", "gemma2", GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}
    ),
    "gemma3": Tiny(
        "gemma3",
        "gemma3_text",
        GEMMA
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": BASE, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            }
        },
    ),
    "phi3": Tiny("phi3", "phi3", {"sliding_window": None}),
    "phi3-long": Tiny(
        "phi3",
        "phi3",
        {
            "rope_parameters": LONG,
            "original_max_position_embeddings": 256,
            "max_position_embeddings": 512,
            "sliding_window": None,
        },
    ),
    "gpt2": Tiny("gpt2", "gpt2", {"n_inner": 96}),
    "starcoder2": Tiny("starcoder2", "starcoder2"),
    "stablelm": Tiny(
        "stablelm", "stablelm", {**_rope("default", partial_rotary_factor=0.25), "use_qkv_bias": True}
    ),
    "stablelm-parallel": Tiny(
        "stablelm", "stablelm", {**_rope("default", partial_rotary_factor=0.5), "use_parallel_residual": True}
    ),
    "falcon": Tiny(
        "falcon",
        "falcon",
        {"multi_query": True, "ffn_hidden_size": 96, "num_kv_heads": 1, "tie_word_embeddings": True},
    ),
}


def tiny(name: str, **fields: Any) -> Any:
    """A random model in float32 whose norms and biases are random too."""
    made = TINY[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CONFIG_MAPPING[made.model_type](**{**SIZES, **made.fields, **fields})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.data += 0.2 * torch.randn(weight.shape)
    return model.eval().requires_grad_(False)


def write_model(path: Path, name: str, model: Any, kind: str = "F32", **metadata: Any) -> Path:
    """Write the file of `tiny(name)`, or of another model of that type; matrices are of this kind.

    `metadata` adds keys, with __ for a dot; None leaves one out.
    """
    made, config = TINY[name], model.config.get_text_config()
    values = {f"{made.architecture}.{key}": value for key, value in _keys(made, config).items()}
    values |= _tokens(config) | {key.replace("__", "."): value for key, value in metadata.items()}
    return write_file(path, made.architecture, values, _tensors(made, model), kind)


def write_lora(
    path: Path, folder: Path, model: Any, architecture: str = "llama", kind: str = "F32", **metadata: Any
) -> Path:
    """Write the PEFT adapter in `folder`; `metadata` as in `write_model`."""
    config = json.loads((folder / "adapter_config.json").read_text())
    values = {
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(config["lora_alpha"]),
        **{key.replace("__", "."): value for key, value in metadata.items()},
    }
    tensors = {}
    for key, tensor in load_file(folder / "adapter_model.safetensors").items():
        if ".base_layer." in key:
            continue  # as the converter does
        name = key.removeprefix("base_model.model.").replace(".lora_A", "").replace(".lora_B", "")
        half = "lora_b" if ".lora_B" in key else "lora_a"
        if half == "lora_b":
            tensor = _changed(architecture, name, tensor, model.config.get_text_config())
        tensors[f"{_gguf_name(architecture, name, model)}.{half}"] = tensor
    return write_file(path, architecture, values, tensors.items(), kind)


def write_blank(path: Path, metadata: Mapping[str, Any]) -> Path:
    """Write a Llama of one layer with this metadata (its tokenizer), in which every weight is zero."""
    width = 32
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (len(metadata["tokenizer.ggml.tokens"]), width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.{name}": (width, width) for name in square},
    }
    values = {
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        **metadata,
    }
    tensors = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    return write_file(path, "llama", values, tensors.items())


def write_file(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Iterable[tuple[str, Tensor]],
    kind: str = "F32",
) -> Path:
    """Write a file with these keys, but for those that are None, and tensors; matrices are of this kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _add_key(writer, key, value)
    for name, weight in tensors:
        _add_tensor(writer, name, weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_key(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _add_tensor(writer: gguf.GGUFWriter, name: str, weight: Tensor, kind: str) -> None:
    values, to = weight.detach().float().contiguous().numpy(), gguf.GGMLQuantizationType[kind]
    if weight.dim() == 1 or kind == "F32":
        writer.add_tensor(name, values)
        return
    if to == gguf.GGMLQuantizationType.Q8_0 and values.shape[-1] % 32:
        to = gguf.GGMLQuantizationType.F16  # as the converter does
    writer.add_tensor(name, gguf.quantize(values, to), raw_dtype=to)


def _keys(made: Tiny, config: Any) -> dict[str, Any]:
    """What `set_gguf_parameters` of the converter writes for the architecture."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = next(
        getattr(config, key)
        for key in ("intermediate_size", "n_inner", "ffn_hidden_size")
        if hasattr(config, key)
    )
    falcon = made.architecture == "falcon"
    keys: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": inner,
        "block_count": config.num_hidden_layers,
        "attention.head_count": heads,
    }
    if made.architecture != "gpt2":
        keys["attention.head_count_kv"] = 1 if falcon else config.num_key_value_heads
        keys["vocab_size"] = config.vocab_size
    for name in ("rms_norm_eps",):
        if hasattr(config, name):
            keys["attention.layer_norm_rms_epsilon"] = float(config.rms_norm_eps)
    for name in ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"):
        if hasattr(config, name):
            keys["attention.layer_norm_epsilon"] = float(getattr(config, name))
    if getattr(config, "head_dim", None) and made.architecture != "phi3":
        keys |= {"attention.key_length": size, "attention.value_length": size}
    if made.architecture != "gpt2":
        keys |= _rope_keys(made, config, size)
    if made.architecture in ("gemma2", "gemma3"):
        keys["attention.sliding_window"] = config.sliding_window
    if made.architecture == "gemma2":
        keys["attn_logit_softcapping"] = config.attn_logit_softcapping
        keys["final_logit_softcapping"] = config.final_logit_softcapping
    if made.architecture == "stablelm":
        keys["use_parallel_residual"] = config.use_parallel_residual
    if falcon:
        keys["tensor_data_layout"] = "jploski"
    return keys


def _rope_keys(made: Tiny, config: Any, size: int) -> dict[str, Any]:
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    keys: dict[str, Any] = {"rope.freq_base": rope["rope_theta"]}
    if made.architecture in ("llama", "phi3", "stablelm"):
        keys["rope.dimension_count"] = int(size * rope.get("partial_rotary_factor", 1))
    if rope["rope_type"] in ("linear", "yarn"):
        keys |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": rope["factor"]}
    if rope["rope_type"] in ("yarn", "longrope") or made.architecture == "phi3":
        original = rope.get("original_max_position_embeddings", config.max_position_embeddings)
        keys["rope.scaling.original_context_length"] = original
    if rope["rope_type"] == "longrope":
        factor = config.max_position_embeddings / rope["original_max_position_embeddings"]
        keys["rope.scaling.attn_factor"] = float(np.sqrt(1 + np.log(factor) / np.log(original)))
    return keys


def _tokens(config: Any) -> dict[str, Any]:
    """A vocabulary of bytes with control tokens, or of whole words where the model has too few tokens."""
    common = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.add_bos_token": False,
    }
    if config.vocab_size < SIZES["vocab_size"]:
        return common | {
            "tokenizer.ggml.tokens": ["a", "b", "ab", *(f"w{i}" for i in range(3, config.vocab_size))],
            "tokenizer.ggml.token_type": [1] * config.vocab_size,
            "tokenizer.ggml.merges": ["a b"],
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 1,
        }
    texts = [*bytes_to_unicode().values(), "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "ĠĠ"]
    texts += [f"[PAD{i}]" for i in range(len(texts), config.vocab_size)]
    return common | {
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [1] * 256 + [3] * 4 + [1] + [5] * (len(texts) - 261),
        "tokenizer.ggml.merges": ["Ġ Ġ"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.chat_template": TEMPLATE,
    }


TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _tensors(made: Tiny, model: Any) -> Iterator[tuple[str, Tensor]]:
    config = model.config.get_text_config()
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        changed = _changed(made.architecture, name, weight, config)
        yield _gguf_name(made.architecture, name, model), changed
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama3(config)
    if rope.get("rope_type") == "longrope":
        yield "rope_factors_long.weight", torch.tensor(rope["long_factor"])
        yield "rope_factors_short.weight", torch.tensor(rope["short_factor"])


def _gguf_name(architecture: str, name: str, model: Any) -> str:
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    layers = model.config.get_text_config().num_hidden_layers
    found = gguf.get_tensor_name_map(kinds[architecture], layers).get_name(name, (".weight", ".bias"))
    assert found is not None, name
    return str(found)


def _changed(architecture: str, name: str, weight: Tensor, config: Any) -> Tensor:
    """A weight, or lora_B of it, as the file has it."""
    change = _CHANGES.get(architecture)
    return change(name, weight, config) if change else weight


def _permuted(name: str, weight: Tensor, config: Any) -> Tensor:
    for module, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
        if f".{module}." in name:
            split = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            return split.swapaxes(1, 2).reshape(weight.shape)
    return weight


def _transposed(name: str, weight: Tensor, config: Any) -> Tensor:
    return weight.T if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else weight


def _plus_one(name: str, weight: Tensor, config: Any) -> Tensor:
    return weight + 1 if name.endswith("norm.weight") else weight


_CHANGES: dict[str, Callable[[str, Tensor, Any], Tensor]] = {
    "llama": _permuted,
    "gpt2": _transposed,
    "gemma2": _plus_one,
    "gemma3": _plus_one,
    "gemma4": _plus_one,
}


def _llama3(config: Any) -> Tensor:
    """`generate_extra_tensors` of the converter."""
    rope = config.rope_parameters
    base, dim = rope["rope_theta"], config.head_dim
    freqs = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    old = rope["original_max_position_embeddings"]
    factors = []
    for freq in freqs:
        wavelen = 2 * torch.pi / float(freq)
        if wavelen < old / high:
            factors.append(1.0)
        elif wavelen > old / low:
            factors.append(factor)
        else:
            smooth = (old / wavelen - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(factors)
