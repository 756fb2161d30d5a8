"""Tiny random models of real architectures, in memory and saved with a tokenizer.

Weights are drawn wide enough (initializer_range 0.12) for adapters to move log-probabilities by far more than
rounding; everything is float32 on the CPU, and the same seed gives the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.support.tokenizers import byte_tokenizer, word_tokenizer

VOCABULARY = 96
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.12,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
# Of a model that goes with `byte_tokenizer(extra=3)`.
BYTES: dict[str, Any] = {"vocab_size": 260, "eos_token_id": 256, "bos_token_id": None, "pad_token_id": None}
WINDOW = {"sliding_window": 8}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
# Layers of two sizes, keys that are values too, and two layers that look at the keys of earlier ones.
PER_LAYER = {
    "initializer_range": 0.06,
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
}
# name -> (model type, fields of the configuration, target_modules of the random adapters)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "llama": ("llama", {}, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    "qwen2": ("qwen2", {}, ("q_proj", "v_proj", "down_proj")),
    "qwen3": (
        "qwen3",
        {"head_dim": 8, "tie_word_embeddings": True},
        ("q_proj", "o_proj", "up_proj", "lm_head"),
    ),
    "mistral": ("mistral", WINDOW, ("q_proj", "k_proj", "v_proj", "o_proj")),
    "gemma3": (
        "gemma3_text",
        WINDOW | {"head_dim": 8, "query_pre_attn_scalar": 8, "layer_types": ALTERNATING},
        ("q_proj", "v_proj", "gate_proj", "down_proj"),
    ),
    "gemma4": ("gemma4_text", WINDOW | PER_LAYER, ("q_proj", "k_proj", "o_proj", "up_proj", "down_proj")),
    "phi3": ("phi3", {}, ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
    "gpt2": ("gpt2", {"n_inner": 48}, ("c_attn", "c_proj", "c_fc")),
    "gpt_neox": ("gpt_neox", {}, ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
}
ALL = tuple(ARCHITECTURES)


def tiny_config(architecture: str, **fields: Any) -> Any:
    """Configuration of a tiny model; `fields` override."""
    model_type, own, _ = ARCHITECTURES[architecture]
    return CONFIG_MAPPING[model_type](**(SIZES | own | fields))


def tiny_model(architecture: str = "llama", seed: int = 0, **fields: Any) -> Any:
    """A random causal language model in float32, evaluation mode, without gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            tiny_config(architecture, **fields), dtype=torch.float32, attn_implementation="sdpa"
        )
    return model.eval().requires_grad_(False)


VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
# model type -> the tiny text model in it, and fields of the vision tower
MULTIMODAL: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma3": ("gemma3", {}, VISION),
    "mistral3": ("mistral", {}, VISION | {"model_type": "pixtral"}),
    "qwen2_5_vl": (
        "qwen2",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
        VISION | {"num_heads": 4, "depth": 1, "out_hidden_size": 32, "fullatt_block_indexes": [0]},
    ),
}


def tiny_multimodal(model_type: str) -> Any:
    """A random model with a vision tower beside its text model, as `tiny_model` makes them."""
    from transformers import AutoModelForImageTextToText

    architecture, fields, vision = MULTIMODAL[model_type]
    text = tiny_config(architecture, **fields).to_dict()
    if model_type == "qwen2_5_vl":
        del text["model_type"]
    config = CONFIG_MAPPING[model_type](text_config=text, vision_config=dict(vision))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def save_model(folder: Path, architecture: str = "llama", vocabulary: int = 96, **fields: Any) -> Path:
    """A complete folder: a tiny random model with a tokenizer of whole words w0, w1, …; no template."""
    tiny_model(architecture, **fields).save_pretrained(folder)
    word_tokenizer(vocabulary).save_pretrained(folder)
    return folder


def save_chat_model(folder: Path, architecture: str = "llama", seed: int = 0, **fields: Any) -> Path:
    """A complete folder: a tiny random model that knows bytes and a chat template."""
    tiny_model(architecture, seed, **(BYTES | fields)).save_pretrained(folder)
    byte_tokenizer(extra=BYTES["vocab_size"] - 257).save_pretrained(folder)
    return folder


def log_probs(model: nn.Module, tokens: Tensor) -> Tensor:
    """Log-probabilities (B, T, V) in float32 of a plain forward pass without a cache."""
    with torch.inference_mode():
        return model(tokens, use_cache=False).logits.float().log_softmax(-1)


def is_repacked(model: nn.Module) -> bool:
    """Whether weights of the model, or copies of them, lie in the blocks of the CPU's kernels."""
    return any(tensor.is_mkldnn for tensor in (*model.parameters(), *model.buffers()))


def random_tokens(batch: int = 2, length: int = 20, seed: int = 5) -> Tensor:
    """Token ids (B, T), special tokens excluded."""
    return torch.randint(3, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))
