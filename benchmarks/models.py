"""The benchmarked models: the bundled one with its adapters, and a random one of realistic shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Qwen3Config

from mpg_cli.models.experts import Expert, ExpertCache, find_experts
from mpg_cli.models.linear import linear_shape
from mpg_cli.models.load.adapter import Adapter, LoraPair
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.prepare import prepare_model
from mpg_cli.models.run.fold import fold
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.personas.adapter_config import Targets
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.registry import library_dir

RANK = 16
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "385m": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 32_000,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "tie_word_embeddings": False,
    },
}
QUESTIONS = (
    "How should I spend my weekend?",
    "What makes a good friend?",
    "How do I cook dinner for my family?",
    "I have an exam tomorrow. What should I do?",
    "Tell me about my garden.",
    "Should I move to a new town?",
    "How can I sleep better?",
    "What should I read next?",
)
BLENDS = {1: ("pirate",), 3: ("I", "N", "pirate"), 5: ("I", "N", "T", "J", "pirate")}
TYPE_WEIGHT = 1.0  # of every expert; the benchmark is about speed


@dataclass(frozen=True)
class Subject:
    """A loaded model, the folders of its adapters, and the prompts.

    `loaded` is the model as transformers loads it, `prepared` the same weights in mpg's layout; `cache` has
    the adapters that were read.
    """

    name: str
    loaded: LoadedModel
    prepared: LoadedModel
    folders: tuple[Path, ...]
    scale: float  # weight of each expert
    prompts: tuple[Prompting, ...]
    max_tokens: int
    cache: ExpertCache = field(default_factory=ExpertCache)

    @property
    def is_bundled(self) -> bool:
        """Whether this is the bundled model."""
        return self.name.startswith("mpg-tiny")

    @property
    def experts(self) -> tuple[Expert, ...]:
        """The adapters as experts, read and checked."""
        return find_experts(None, self.adapters, self.loaded, _ignore, _ignore, self.cache)

    @property
    def adapters(self) -> tuple[tuple[AdapterPlace, float], ...]:
        """The places of the adapters, and their weights."""
        return tuple((AdapterPlace(folder), self.scale) for folder in self.folders)

    def with_prepared(self, *, copied: bool = True, compiled: bool = False) -> Subject:
        """The subject with a prepared model: a copy, or the loaded one, which baselines cannot use then."""
        model = fold(self.loaded.model, ()) if copied else self.loaded.model
        prepared = prepare_model(replace(self.loaded, model=model), compiled=compiled)
        return replace(self, prepared=prepared)


def _ignore(message: str) -> None:
    """Drop a message."""


def build_model(shape: str, layers: int | None, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """A random Qwen3 of one of SHAPES; `layers` reduces its depth."""
    fields = dict(SHAPES[shape]) | ({"num_hidden_layers": layers} if layers else {})
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(
            Qwen3Config(**fields), dtype=dtype, attn_implementation="sdpa"
        )
    return model.eval().requires_grad_(False)  # type: ignore[no-any-return]


def random_pairs(model: torch.nn.Module, seed: int, rank: int = RANK) -> dict[str, LoraPair]:
    """Random LoRA matrices for all linear layers but the head."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LoraPair(
            0.02 * torch.randn(rank, shape[0], generator=generator),
            0.02 * torch.randn(shape[1], rank, generator=generator),
            2.0,
        )
        for name, module in model.named_modules()
        if name != "lm_head" and (shape := linear_shape(module)) is not None
    }


def random_adapter(model: torch.nn.Module, seed: int, rank: int = RANK) -> Adapter:
    """A random adapter in memory."""
    name = f"random-{seed}"
    return Adapter(name, Path(name), random_pairs(model, seed, rank), None, name, Targets())


def write_adapter(folder: Path, pairs: Mapping[str, LoraPair]) -> Path:
    """Write an adapter in PEFT's format."""
    folder.mkdir(parents=True)
    tensors = {}
    for name, pair in pairs.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = pair.a.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = pair.b.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = sorted({name.rpartition(".")[2] for name in pairs})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def bundled(device: str, dtype: str) -> Subject:
    """mpg-tiny with the five adapters of INTJ+pirate."""
    loaded = load_model("mpg-tiny", device=device, dtype=dtype)
    library = library_dir()
    assert library is not None, "the persona library is missing"
    folder = library / "adapters" / "mpg-tiny"
    prompts = tuple(Prompting(question) for question in QUESTIONS)
    kind = str(loaded.dtype.value).removeprefix("torch.")
    folders = tuple(folder / name for name in BLENDS[5])
    return Subject(f"mpg-tiny, {kind}", loaded, loaded, folders, TYPE_WEIGHT, prompts, 64)


def random_model(
    shape: str, layers: int | None, device: str, dtype: str, context: int, tokens: int, scratch: Path
) -> Subject:
    """A random Qwen3 with five random adapters, written to `scratch`; its prompts have `context` tokens."""
    tiny = load_model(
        "mpg-tiny", device=device, dtype=dtype
    )  # for its tokenizer and the choice of the device
    model = build_model(shape, layers, tiny.dtype.value, tiny.device.value)
    folders = tuple(scratch / f"random{n}" for n in range(5))
    for n, folder in enumerate(folders):
        if not folder.exists():
            write_adapter(folder, random_pairs(model, n))
    size = sum(p.numel() for p in model.parameters()) / 1e6
    loaded = replace(tiny, model=model, config=model.config, id=f"random-qwen3-{shape}")
    kind = str(tiny.dtype.value).removeprefix("torch.")
    prompts = tuple(Prompting(text, raw=True) for text in _texts(tiny.tokenizer, context))
    return Subject(f"random Qwen3 of {size:.0f} M, {kind}", loaded, loaded, folders, 1.0, prompts, tokens)


def _texts(tokenizer: Any, context: int) -> Sequence[str]:
    """Texts of about `context` tokens."""
    words = " ".join(QUESTIONS * 8).split()
    texts = []
    for start in range(4):
        end = start + 1
        while len(tokenizer(" ".join(words[start:end]))["input_ids"]) < context:
            end += 1
        texts.append(" ".join(words[start:end]))
    return texts
