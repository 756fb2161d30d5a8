"""The configuration of transformers for the metadata of a GGUF file, one function for each architecture.

transformers has such a table too, which leaves out what some files need: the scaling of rotary positions,
soft caps, windows, the base of StarCoder2's positions. Here every key of the architecture is used or known
to change nothing, or the file is refused: a model that is nearly right is worse than none. Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mpg_cli.errors import ModelError
from mpg_cli.io.gguf_header import Header
from mpg_cli.io.text import visible

ROPE_FACTORS = "rope_freqs.weight"  # of Llama 3.1 and later
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"  # of Phi-3 and later
SPECIAL = (ROPE_FACTORS, LONG, SHORT)  # tensors that are part of the configuration
_LARGEST = 1 << 31
_NOTHING = (
    "vocab_size",
    "tensor_data_layout",
    "attention.causal",
    "pooling_type",
)  # keys that change nothing here
_INSTEAD = "choose another file, or the original model in safetensors"


class Fields:
    """The metadata of the file's architecture; notes which keys have been used."""

    def __init__(self, header: Header, label: str, numbers: Callable[[str], Sequence[float]]) -> None:
        self.header, self.label, self.tensor = header, label, numbers
        self.architecture = header.text("general.architecture")
        prefix = f"{self.architecture}."
        self._left = {
            key.removeprefix(prefix): value
            for key, value in header.metadata.items()
            if key.startswith(prefix)
        }

    def fail(self, what: str, hint: str = _INSTEAD) -> NoReturn:
        raise ModelError(f"{self.label} {what}", hint=hint)

    def has_tensor(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self.header.tensors)

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive integer; `default` where there is none."""
        value = self._left.pop(key, default)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]  # the same in every layer
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _LARGEST:
            self._wrong(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            self._wrong(key, value)
        return float(value)

    def optional(self, key: str) -> Any:
        """Any value, None where there is none."""
        return self._left.pop(key, None)

    def _wrong(self, key: str, value: object) -> NoReturn:
        if value is None:
            self.fail(f"has no {self.architecture}.{key}")
        self.fail(f"has {self.architecture}.{key} = {visible(str(value), 60)}, which is not supported")

    def finish(self) -> None:
        """Raise ModelError for a key that was not used: its effect on the model is unknown."""
        for key, value in sorted(self._left.items()):
            # 0 stands for "none" in counts, scales and windows.
            if key not in _NOTHING and value not in (0, None, False):
                shown = visible(f"{self.architecture}.{key} = {value}", 80)
                self.fail(f"has {shown}, which mpg does not know: the model could be wrong without it")


@dataclass(frozen=True)
class Architecture:
    """A kind of model: the model type of transformers, and the fields of its configuration.

    `undo` says what llama.cpp does to the weights: it reorders the rows of queries and keys ("rows"), adds 1
    to the weights of norms ("norms"), or transposes matrices ("matrices").
    """

    model_type: str
    fields: Callable[[Fields], dict[str, Any]]
    undo: str = ""


def configuration(fields: Fields) -> dict[str, Any]:
    """The fields of the configuration, with `model_type`. Raises ModelError where it cannot be right."""
    architecture = ARCHITECTURES[fields.architecture]
    made = architecture.fields(fields)
    fields.finish()
    tokens = next((t for t in fields.header.tensors if t.name == "token_embd.weight"), None)
    if tokens is None or len(tokens.shape) != 2:
        fields.fail("has no table of embeddings: its weights are somewhere else", "choose the whole model")
    return {
        "model_type": architecture.model_type,
        "vocab_size": tokens.shape[0],
        "tie_word_embeddings": not fields.has_tensor("output.weight"),
        **made,
    }


def _decoder(fields: Fields) -> dict[str, Any]:
    """What nearly all have."""
    heads = fields.whole("attention.head_count")
    layers = fields.whole("block_count")
    if layers > len(fields.header.tensors):
        fields.fail(f"claims {layers} layers and has {len(fields.header.tensors)} tensors")
    return {
        "max_position_embeddings": fields.whole("context_length"),
        "hidden_size": fields.whole("embedding_length"),
        "num_hidden_layers": layers,
        "intermediate_size": fields.whole("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.whole("attention.head_count_kv", heads),
    }


def _head_size(fields: Fields, made: dict[str, Any]) -> int:
    size = fields.whole("attention.key_length", max(1, made["hidden_size"] // made["num_attention_heads"]))
    if (values := fields.whole("attention.value_length", size)) != size:
        fields.fail(f"has keys of size {size} and values of size {values}, which is not supported")
    return size


def _rotation(fields: Fields, size: int) -> dict[str, Any]:
    """The rotary positions of heads of this size; all or the first part of each is rotated."""
    rotated = fields.whole("rope.dimension_count", size)
    made: dict[str, Any] = {"rope_type": "default", "rope_theta": fields.number("rope.freq_base", 10_000)}
    if rotated != size:
        made["partial_rotary_factor"] = rotated / size
    scaling = fields.optional("rope.scaling.type")
    older = fields.optional("rope.scale_linear")
    factor = fields.number(
        "rope.scaling.factor", float(older) if isinstance(older, int | float) and older else 1
    )
    fields.optional("rope.scaling.finetuned")
    original = fields.optional("rope.scaling.original_context_length")
    if fields.has_tensor(ROPE_FACTORS):
        return made | _llama3(fields, made["rope_theta"], rotated)
    if fields.has_tensor(LONG) or fields.has_tensor(SHORT):
        return made | _long(fields, original)
    if scaling in (None, "linear"):
        return made | ({"rope_type": "linear", "factor": factor} if factor != 1 else {})
    if scaling == "yarn" and isinstance(original, int):
        extra = {
            "beta_fast": fields.number("rope.scaling.yarn_beta_fast", 32),
            "beta_slow": fields.number("rope.scaling.yarn_beta_slow", 1),
        }
        return made | {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            **extra,
        }
    if scaling != "none":
        fields.fail(f"scales rotary positions by {visible(str(scaling), 40)}, which is not supported")
    return made


def _llama3(fields: Fields, theta: float, rotated: int) -> dict[str, Any]:
    """The scaling of Llama 3.1 and later, whose file has the resulting factor of each frequency."""
    factors = fields.tensor(ROPE_FACTORS)
    made = {"factor": round(max(factors), 4), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    original = 8192
    expected = []
    for place in range(rotated // 2):
        turns = original * theta ** (-2 * place / rotated) / (2 * math.pi)  # within the original context
        smooth = min(1.0, max(0.0, (turns - 1) / 3))
        expected.append(1 / ((1 - smooth) / made["factor"] + smooth))
    if len(factors) != len(expected) or any(
        not math.isclose(one, other, rel_tol=1e-4) for one, other in zip(factors, expected, strict=True)
    ):
        fields.fail(
            "scales rotary positions by factors that are not those of Llama 3.1, which is not supported"
        )
    return {"rope_type": "llama3", "original_max_position_embeddings": original, **made}


def _long(fields: Fields, original: Any) -> dict[str, Any]:
    """The scaling of Phi-3 and later, with factors for prompts within and beyond the original context."""
    if not isinstance(original, int):
        fields.fail("has no rope.scaling.original_context_length")
    return {
        "rope_type": "longrope",
        "long_factor": list(fields.tensor(LONG)),
        "short_factor": list(fields.tensor(SHORT)),
        "attention_factor": fields.number("rope.scaling.attn_factor", 1),
        "original_max_position_embeddings": original,
    }


def _llama(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    return made | {
        "head_dim": size,
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rotation(fields, size),
        "attention_bias": fields.has_tensor("blk.0.attn_q.bias"),
        "mlp_bias": fields.has_tensor("blk.0.ffn_up.bias"),
    }


def _qwen2(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    if size * made["num_attention_heads"] != made["hidden_size"]:
        fields.fail("has heads of a size that Qwen2 cannot have")
    return made | {
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rotation(fields, size),
    }


def _qwen3(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    return made | {
        "head_dim": size,
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rotation(fields, size),
    }


def _gemma(fields: Fields, largest: int) -> dict[str, Any]:
    """Gemma 2 and 3. The largest model of each, known by its layers, scales its scores in another way."""
    made = _decoder(fields)
    size = _head_size(fields, made)
    by_width = made["num_hidden_layers"] == largest
    scale = made["hidden_size"] // made["num_attention_heads"] if by_width else size
    return made | {
        "head_dim": size,
        "query_pre_attn_scalar": scale,
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "sliding_window": fields.whole("attention.sliding_window"),
    }


def _gemma2(fields: Fields) -> dict[str, Any]:
    made = _gemma(fields, 46)
    return made | {
        "rope_parameters": _rotation(fields, made["head_dim"]),
        "attn_logit_softcapping": fields.number("attn_logit_softcapping", 50),
        "final_logit_softcapping": fields.number("final_logit_softcapping", 30),
    }


def _gemma3(fields: Fields) -> dict[str, Any]:
    made = _gemma(fields, 62)
    local = {"rope_type": "default", "rope_theta": fields.number("rope.freq_base_swa", 10_000)}
    pattern = fields.whole("attention.sliding_window_pattern", 6)
    softcap = fields.optional("final_logit_softcapping")
    kinds = ("sliding_attention", "full_attention")
    return made | {
        "rope_parameters": {
            "full_attention": _rotation(fields, made["head_dim"]),
            "sliding_attention": local,
        },
        "layer_types": [kinds[(i + 1) % pattern == 0] for i in range(made["num_hidden_layers"])],
        "final_logit_softcapping": softcap or None,
    }


def _phi3(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    window = fields.optional("attention.sliding_window")
    rotation = _rotation(fields, size)
    fields.optional("rope.scaling.attn_factor")
    return made | {
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": rotation,
        "original_max_position_embeddings": rotation.get(
            "original_max_position_embeddings", made["max_position_embeddings"]
        ),
        "sliding_window": window or None,
    }


def _gpt2(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    fields.optional("attention.key_length"), fields.optional("attention.value_length")
    return {
        "n_positions": made["max_position_embeddings"],
        "n_embd": made["hidden_size"],
        "n_layer": made["num_hidden_layers"],
        "n_inner": made["intermediate_size"],
        "n_head": made["num_attention_heads"],
        "layer_norm_epsilon": fields.number("attention.layer_norm_epsilon"),
    }


def _starcoder2(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    return made | {
        "norm_epsilon": fields.number("attention.layer_norm_epsilon"),
        "rope_parameters": _rotation(fields, size),
        "sliding_window": fields.optional("attention.sliding_window") or None,
        "use_bias": fields.has_tensor("blk.0.attn_q.bias"),
    }


def _stablelm(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    fields.optional("use_parallel_residual")
    return made | {
        "layer_norm_eps": fields.number("attention.layer_norm_epsilon"),
        "rope_parameters": _rotation(fields, size),
        "use_qkv_bias": fields.has_tensor("blk.0.attn_q.bias"),
        "use_parallel_residual": not fields.has_tensor("blk.0.ffn_norm.weight"),
    }


def _falcon(fields: Fields) -> dict[str, Any]:
    made = _decoder(fields)
    size = _head_size(fields, made)
    if made["num_key_value_heads"] != 1:
        fields.fail("has grouped heads, which mpg does not read from GGUF files of Falcon")
    return {
        "max_position_embeddings": made["max_position_embeddings"],
        "hidden_size": made["hidden_size"],
        "num_hidden_layers": made["num_hidden_layers"],
        "ffn_hidden_size": made["intermediate_size"],
        "num_attention_heads": made["num_attention_heads"],
        "layer_norm_epsilon": fields.number("attention.layer_norm_epsilon"),
        "rope_parameters": _rotation(fields, size),
        "multi_query": True,
        "parallel_attn": True,
        "new_decoder_architecture": False,
        "alibi": False,
        "bias": False,
    }


ARCHITECTURES = {
    "llama": Architecture("llama", _llama, undo="rows"),
    "qwen2": Architecture("qwen2", _qwen2),
    "qwen3": Architecture("qwen3", _qwen3),
    "gemma2": Architecture("gemma2", _gemma2, undo="norms"),
    "gemma3": Architecture("gemma3_text", _gemma3, undo="norms"),
    "phi3": Architecture("phi3", _phi3),
    "gpt2": Architecture("gpt2", _gpt2, undo="matrices"),
    "starcoder2": Architecture("starcoder2", _starcoder2),
    "stablelm": Architecture("stablelm", _stablelm),
    "falcon": Architecture("falcon", _falcon),
}
