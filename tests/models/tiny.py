"""Tiny random models of real architectures and random PEFT adapters, shared by the tests.

Weights are drawn wide enough (initializer_range 0.12) for adapters to move log-probabilities by far more than
rounding; everything is float32 on the CPU, and the same seed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

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
    """A complete folder: a tiny random model with a tokenizer of whole words w0, w1, …"""
    tiny_model(architecture, **fields).save_pretrained(folder)
    save_tokenizer(folder, vocabulary)
    return folder


def save_tokenizer(folder: Path, vocabulary: int = 96, last: str = "zz") -> None:
    """A tokenizer of whole words; `last` is the last one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(vocabulary - 1)} | {last: vocabulary - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", eos_token="w1").save_pretrained(
        folder
    )


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


@contextmanager
def edited_tensors(folder: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of an adapter, to be changed in place; written back at the end."""
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors: dict[str, Tensor] = load_file(path)
    yield tensors
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def edit_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Set fields of an adapter's adapter_config.json."""
    import json

    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(changes)))
