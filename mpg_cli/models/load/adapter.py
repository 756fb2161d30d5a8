"""LoRA adapters: PEFT's, read from adapter_config.json and adapter_model.safetensors, and those in GGUF.

PEFT accepts missing layers, unused tensors and NaN with a warning at most. Here every tensor must have a use,
values must be finite, and adapter_fit.py checks modules and shapes against the model. One error lists all
problems of an adapter. Independent of transformers: a model is an `nn.Module` with names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mpg_cli.errors import AdapterError
from mpg_cli.io.text import visible
from mpg_cli.models.linear import FLOATS
from mpg_cli.models.load.gguf.weights import numbers
from mpg_cli.models.load.problems import Problems
from mpg_cli.personas.adapter_config import LoraConfig, Targets, parse_config
from mpg_cli.personas.adapter_folder import check_folder, gguf_file, load_config
from mpg_cli.personas.adapter_gguf import read_lora
from mpg_cli.personas.adapter_names import is_not_text, parse_key
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

MERGE_HINT = "merge it into its base (PEFT's merge_and_unload) and use the result as a `checkpoint` expert"
TOKENS_HINT = (
    "merge it into its base with the embeddings resized as in training (resize_token_embeddings, PEFT's "
    "merge_and_unload), save that with the adapter's tokenizer, and give the folder as --model: adapters of "
    "the base fit it as well"
)
_IMAGE_KEYS = (".lora_down.", ".lora_up.", ".lora.down.", ".lora.up.")


@dataclass(frozen=True)
class LoraPair:
    """One module's update ΔW = scale · b @ a, as stored: a (r, d_in), b (d_out, r)."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Adapter:
    """A checked adapter: `pairs` by module name, on the CPU in the dtype of the file.

    `read_adapter` returns names of the model it was trained on, `fit_adapter` those of the loaded model.
    `label` and `path` name it in messages, `base_name` is the base in its configuration (often empty or
    outdated), `fingerprint` the BLAKE2b of configuration and weights. `copies` are whole weights of the base
    in the file, by parameter name; they must equal those of the base. `saved` are modules that the file must
    contain whole, `left_out` modules for pictures or sound, `idle` patterns of the configuration that match
    no name in the file. `architecture` is that of a GGUF file, whose names and layout the pairs then have.
    `notice` is a message for the user.
    """

    label: str
    path: Path
    pairs: Mapping[str, LoraPair]
    base_name: str | None
    fingerprint: str
    targets: Targets = field(repr=False)
    copies: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    saved: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    architecture: str | None = None

    @property
    def notice(self) -> str | None:
        if not self.left_out:
            return None
        return (
            f"adapter {self.label} also adapts parts for pictures or sound, such as "
            f"{visible(self.left_out[0], 80)}; they are left out, as they do not affect text"
        )


Row: TypeAlias = Sequence[tuple[Adapter, float]]  # the adapters that one row adds, and their weights
RowKey: TypeAlias = tuple[tuple[str, float], ...]  # their fingerprints and weights, in ascending order


def read_adapter(path: Path, label: str) -> Adapter:
    """Read and check the adapter in the folder or GGUF file `path`; `label` is its name in messages.

    Raises AdapterError, listing all problems, for a missing, damaged or unsupported adapter. `fit_adapter`
    checks it against a model.
    """
    if (file := gguf_file(path)) is not None:
        return _read_gguf(file, label)
    check_folder(path, f"adapter {label}: {path}")
    config_bytes = (path / CONFIG_FILE).read_bytes()
    config, texts = parse_config(load_config(config_bytes, f"adapter {label}: {path / CONFIG_FILE}"))
    problems = Problems()
    for text in texts:
        problems.add(f"{CONFIG_FILE}: {text}")
    hint = MERGE_HINT if problems else None
    tensors, left_out = _of_text(_read_tensors(path / WEIGHTS_FILE, label))
    pairs, copies = _sort_tensors(tensors, config, problems)
    if left_out and not pairs:
        problems.add(f"it adapts parts for pictures or sound only, such as {left_out[0]}")
    if problems:
        raise problems.error(f"adapter {label} ({path}) cannot be used:", hint)
    return Adapter(
        label=label,
        path=path,
        pairs=pairs,
        base_name=config.base_name,
        fingerprint=_fingerprint(path / WEIGHTS_FILE, config_bytes),
        targets=config.targets,
        copies=copies,
        saved=config.saved,
        left_out=left_out,
        idle=config.idle((*pairs, *left_out)),
    )


def _read_gguf(path: Path, label: str) -> Adapter:
    """The adapter in a GGUF file, in whose layout and names the pairs are."""
    found = read_lora(path, f"adapter {label}: {path}")
    problems, pairs = Problems(), {}
    halves: dict[str, dict[str, Tensor]] = {}
    for key, info in found.tensors.items():
        parsed, tensor = parse_key(key), numbers(found.header, info)
        if (text := _bad_values(tensor)) is not None:
            problems.add(text, parsed.name)
        halves.setdefault(parsed.name, {})[parsed.half or ""] = tensor
    for module, half_of in halves.items():
        if (text := _bad_pair(half_of, None)) is not None:
            problems.add(text, module)
        else:
            scale = 1.0 if found.alpha is None else found.alpha / len(half_of["A"])
            pairs[module] = LoraPair(half_of["A"], half_of["B"], scale)
    if problems:
        raise problems.error(f"adapter {label} ({path}) cannot be used:", None)
    return Adapter(
        label=label,
        path=path,
        pairs=pairs,
        base_name=found.base_name,
        fingerprint=_fingerprint(path),
        targets=Targets(tuple(pairs)),
        architecture=found.architecture,
    )


def _read_tensors(path: Path, label: str) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(24)
    if start.startswith(b"version https://git-lfs"):
        raise AdapterError(
            f"adapter {label}: {path} is a Git LFS pointer, not the weights",
            hint="run `git lfs pull` in its repository",
        )
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise AdapterError(
            f"adapter {label}: {path} is truncated or damaged ({error})", hint="fetch the file again"
        ) from None


def _of_text(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of modules that process text, and the names of the other modules."""
    names = {key: parse_key(key).name for key in tensors}
    others = dict.fromkeys(name for name in names.values() if is_not_text(name))
    return {key: tensors[key] for key, name in names.items() if name not in others}, tuple(others)


def _sort_tensors(
    tensors: Mapping[str, Tensor], config: LoraConfig, problems: Problems
) -> tuple[dict[str, LoraPair], dict[str, Tensor]]:
    """Sort tensors into pairs by module and copies of base weights by parameter; others are problems."""
    halves: dict[str, dict[str, Tensor]] = {}
    copies: dict[str, Tensor] = {}
    adapters = set()
    usable = not problems  # ranks and scales need a valid configuration
    for key, tensor in tensors.items():
        parsed = parse_key(key)
        if (text := _bad_values(tensor)) is not None:
            problems.add(text, key)
        if parsed.half is not None:
            adapters.add(parsed.adapter)
            half_of = halves.setdefault(parsed.name, {})
            if parsed.half in half_of:
                problems.add(f"the file has a second lora_{parsed.half} of {parsed.name}", key)
            half_of[parsed.half] = tensor
        elif (text := _useless(key, parsed.name)) is not None:
            problems.add(text, key)
        elif parsed.name in copies and not torch.equal(copies[parsed.name], tensor):
            problems.add(f"the file has another {parsed.name}", key)
        else:
            copies[parsed.name] = tensor
    if not halves:
        problems.add(f"{WEIGHTS_FILE} holds no LoRA tensors")
    if len(adapters) > 1:
        named = ", ".join(sorted(f"'{name}'" if name else "an unnamed one" for name in adapters))
        problems.add(f"{WEIGHTS_FILE} holds several adapters: {named}")
    pairs = {}
    for module, half_of in halves.items():
        text = _bad_pair(half_of, config.rank(module) if usable else None)
        if text is not None:
            problems.add(text, module)
        elif usable:
            pairs[module] = LoraPair(half_of["A"], half_of["B"], config.scale(module))
    return pairs, copies


def _bad_values(tensor: Tensor) -> str | None:
    """Why the values of a tensor cannot be used; None if they can."""
    if tensor.dtype not in FLOATS:
        return f"has dtype {str(tensor.dtype).removeprefix('torch.')}, must have a float dtype"
    if not bool(torch.isfinite(tensor).all()):
        return "has values that are NaN or infinite"
    if not tensor.numel():
        return "is empty; save the adapter again with its weights gathered (DeepSpeed ZeRO-3, FSDP)"
    return None


def _useless(key: str, name: str) -> str | None:
    """Why a tensor outside the LoRA pairs is not a copy of a base weight; None if it may be one."""
    if ".lora_embedding_" in name:
        return "adapts an embedding; not implemented"
    if any(part in key for part in _IMAGE_KEYS):
        return "belongs to a LoRA for image models (kohya, diffusers)"
    if name.endswith((".lora_a", ".lora_b")):
        return "has the transposed layout of MLX, which is not supported"
    if "lora_" in name or not name.endswith((".weight", ".bias")):
        return "unknown tensor"
    return None


def _bad_pair(half_of: Mapping[str, Tensor], rank: int | None) -> str | None:
    """The problem of the A and B of one module; None if they match."""
    if len(half_of) < 2:
        return f"lora_{'B' if 'A' in half_of else 'A'} is missing"
    a, b = half_of["A"], half_of["B"]
    shapes = f"lora_A is {tuple(a.shape)}, lora_B is {tuple(b.shape)}"
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        return f"{shapes}; they must be (r, d_in) and (d_out, r)"
    if rank is not None and a.shape[0] != rank:
        return f"{shapes}, but the configuration gives rank {rank}"
    return None


def _fingerprint(weights: Path, config: bytes = b"") -> str:
    """BLAKE2b (32 hex digits) of the weights and the configuration."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(config).to_bytes(8, "big") + config)
    with weights.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def row_key(row: Row) -> RowKey:
    """What identifies the sum of a row, whatever the order of its adapters."""
    return tuple(sorted((adapter.fingerprint, weight) for adapter, weight in row))


def row_pairs(module: str, row: Row) -> list[tuple[LoraPair, float]]:
    """The pairs of a module and the factors s·w of their sum.

    In the order of the adapters' fingerprints, so that equal sums are equal to the last bit.
    """
    ordered = sorted(row, key=lambda pair: (pair[0].fingerprint, pair[1]))
    pairs = [(adapter.pairs[module], weight) for adapter, weight in ordered if module in adapter.pairs]
    return [(pair, pair.scale * weight) for pair, weight in pairs]


def row_factors(module: str, row: Row) -> tuple[Tensor, Tensor]:
    """Factors of Σ w·s·B·A of a row in float32: a (r, d_in), b (d_out, r); both (0, 0) for a plain row."""
    pairs = row_pairs(module, row)
    if not pairs:
        return torch.empty(0, 0), torch.empty(0, 0)
    a = torch.cat([pair.a.float() for pair, _ in pairs])  # (Σr, d_in)
    b = torch.cat([pair.b.float() * factor for pair, factor in pairs], dim=1)  # (d_out, Σr)
    return a, b
