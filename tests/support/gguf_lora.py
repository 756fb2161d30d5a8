"""Tiny models and LoRA adapters as GGUF files, as llama.cpp's converters write them, and llama.cpp itself.

The layout is that of convert_hf_to_gguf.py and convert_lora_to_gguf.py, written here in their direction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file
from torch import Tensor

F32, F16, BF16, Q8_0 = (gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0"))


def permuted(rows: Tensor, heads: int) -> Tensor:
    """The rows of queries or keys in the order of llama.cpp (LlamaModel.permute)."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write_lora(
    path: Path,
    folder: Path,
    model: Any,
    architecture: str = "llama",
    kind: gguf.GGMLQuantizationType = F32,
    **metadata: Any,
) -> Path:
    """The PEFT adapter in `folder` as a GGUF file; `metadata` are further keys, with _ for `.`."""
    config = json.loads((folder / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for key, value in metadata.items():
        writer.add_string(key.replace("__", "."), value)
    tensors = load_file(folder / "adapter_model.safetensors")
    for key, tensor in tensors.items():
        if ".base_layer." in key:
            continue  # as the converter does
        name = key.removeprefix("base_model.model.").replace(".lora_A", "").replace(".lora_B", "")
        half = "lora_b" if ".lora_B" in key else "lora_a"
        if half == "lora_b":
            tensor = laid_out(name, tensor, model, architecture)
        add(writer, f"{gguf_name(name, model, architecture)}.{half}", tensor, kind)
    finish(writer)
    return path


def laid_out(name: str, tensor: Tensor, model: Any, architecture: str) -> Tensor:
    config = model.config.get_text_config()
    if architecture == "llama" and name.endswith("q_proj.weight"):
        return permuted(tensor, config.num_attention_heads)
    if architecture == "llama" and name.endswith("k_proj.weight"):
        return permuted(tensor, config.num_key_value_heads)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return tensor + 1
    return tensor


def gguf_name(name: str, model: Any, architecture: str) -> str:
    number = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(number, model.config.get_text_config().num_hidden_layers)
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    assert found is not None, name
    return str(found)


def add(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: gguf.GGMLQuantizationType = F32) -> None:
    numbers = tensor.detach().float().contiguous().numpy()
    if kind == Q8_0 and numbers.shape[-1] % 32:
        kind = F16  # as the converter does
    writer.add_tensor(name, gguf.quantize(numbers, kind), raw_dtype=kind)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_model(path: Path, model: Any, architecture: str = "llama") -> Path:
    """A tiny model in float32 with a tokenizer of whole words, for llama.cpp."""
    config = model.config.get_text_config()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    rope = config.rope_parameters
    writer.add_rope_freq_base(float(rope.get("rope_theta") or rope["full_attention"]["rope_theta"]))
    if architecture == "gemma3":  # the layers of the model must all have this window
        writer.add_sliding_window(config.sliding_window)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    words = ["a", "b", "ab", *(f"w{number}" for number in range(3, config.vocab_size))]
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(words))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        add(writer, gguf_name(name, model, architecture), laid_out(name, tensor, model, architecture))
    finish(writer)
    return path


def llama_cpp_log_probs(model: Path, prompt: Sequence[int], adapter: Path | None = None) -> Tensor:
    """llama.cpp's log-probabilities (V) of the token after the prompt."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 64, 1, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if adapter is not None:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path, info.scale = str(adapter), 1.0
        params.lora_adapters = [info]
    server = xllamacpp.Server(params)
    wanted = {"prompt": list(prompt), "n_predict": 1, "n_probs": 1000, "temperature": 0}
    found = server.handle_completions(wanted)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return torch.tensor([one["logprob"] for one in sorted(found, key=lambda one: one["id"])])
