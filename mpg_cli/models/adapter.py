"""PEFT LoRA adapters, read straight from adapter_config.json and adapter_model.safetensors.

PEFT itself loads with a warning at most: missing layers, left-over tensors, NaN. Here every tensor must have
a use, every module that the configuration targets must be there, shapes must fit and values must be finite;
all that is wrong with an adapter comes in one error. Knows nothing about transformers: a model is an
`nn.Module` with names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.adapter_config import LoraConfig, Targets, parse_config
from mpg_cli.models.prepacked import PlainLinear, PrepackedLinear, dense
from mpg_cli.personas.text import visible

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
MAX_CONFIG_BYTES = 8 << 20
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
MERGE_HINT = "merge it into its base (PEFT's merge_and_unload) and use the result as a `checkpoint` expert"
LISTED = 20  # problems of different kinds that one message lists


@dataclass(frozen=True)
class LoraPair:
    """One module's update ΔW = scale · b @ a, as stored: a (r, d_in), b (d_out, r)."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Adapter:
    """A checked adapter: `pairs` by module name in the base, on the CPU in the file's dtype.

    `label` and `path` name it in messages, `base_name` is what it calls its base (often empty or outdated),
    `fingerprint` the BLAKE2b of configuration and weights. `copies` are whole weights of the base that the
    file carries along, by parameter name; they must equal the base's.
    """

    label: str
    path: Path
    pairs: Mapping[str, LoraPair]
    base_name: str | None
    fingerprint: str
    targets: Targets = field(repr=False)
    copies: Mapping[str, Tensor] = field(default_factory=dict, repr=False)


class _Problems:
    """Collects what is wrong, merging the same problem in many layers into one line."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def add(self, text: str, name: str = "") -> None:
        """Note a problem, of the module or tensor `name` if given."""
        name = visible(name, 200)
        index = re.search(r"\.(\d+)(?=\.|$)", name)
        if index is not None:
            name = f"{name[: index.start(1)]}{{}}{name[index.end(1) :]}"
        layers = self._seen.setdefault((name, text), [])
        if index is not None:
            layers.append(int(index.group(1)))

    def error(self, intro: str, hint: str | None) -> AdapterError:
        """One error with a line a problem."""
        lines = []
        for (name, text), layers in self._seen.items():
            if layers:
                numbers = _ranges(layers)
                name = name.replace("{}", numbers if len(layers) == 1 else f"{{{numbers}}}", 1)
            lines.append(f"  - {name}: {text}" if name else f"  - {text}")
        if len(lines) > LISTED:
            lines = [*lines[:LISTED], f"  … and {len(lines) - LISTED} more"]
        return AdapterError("\n".join([intro, *lines]), hint=hint)


def read_adapter(path: Path, label: str) -> Adapter:
    """Read and check the adapter in the folder `path`; `label` is the name that messages use.

    Raises AdapterError, listing all problems, for a missing, damaged or unsupported adapter. Whether it fits
    a model is another question: `check_fit`.
    """
    _check_files(path, label)
    config_bytes = (path / CONFIG_FILE).read_bytes()
    config, problems = _read_config(config_bytes, path, label)
    hint = MERGE_HINT if problems else None
    tensors = _read_tensors(path / WEIGHTS_FILE, label)
    pairs, copies = _sort_tensors(tensors, config, problems)
    if problems:
        raise problems.error(f"adapter {label} ({path}) cannot be used:", hint)
    return Adapter(
        label=label,
        path=path,
        pairs=pairs,
        base_name=config.base_name,
        fingerprint=_fingerprint(config_bytes, path / WEIGHTS_FILE),
        targets=config.targets,
        copies=copies,
    )


def check_fit(adapter: Adapter, model: nn.Module) -> None:
    """Check that the adapter belongs to the model, module by module.

    Raises one AdapterError with everything wrong: tensors for modules that do not exist or that the adapter's
    own configuration does not select, selected modules without tensors, shapes, kinds of module that cannot
    be served, copied base weights that differ. Works before and after `LoraBank` took the model over.
    """
    modules = dict(model.named_modules())
    problems = _Problems()
    for name, pair in adapter.pairs.items():
        text = _misfit(name, pair, modules.get(name))
        if text is None and adapter.targets.all_linear and modules[name] is _output_embedding(model):
            text = 'the file adapts it, though target_modules "all-linear" leaves the output embedding out'
        if text is None and not adapter.targets.matches(name):
            text = "the file adapts it, but target_modules of the configuration does not select it"
        if text is not None:
            problems.add(text, name)
    for name in _claimed(adapter.targets, model, modules):
        if name not in adapter.pairs:
            kind = type(plain(modules[name])).__name__
            text = "target_modules selects it, but the file has no tensors for it"
            if linear_shape(modules[name]) is None:
                text = f"target_modules selects it, but it is of type {kind}, which is not supported"
            problems.add(text, name)
    parameters = dict(model.named_parameters(remove_duplicate=False)) if adapter.copies else {}
    for name, copy in adapter.copies.items():
        own = parameters.get(name)
        if own is None or own.shape != copy.shape or not _same(own, copy):
            problems.add("the file brings its own version, and it is not the base's; not implemented", name)
    if problems:
        made_for = f"it says it was made for {adapter.base_name}" if adapter.base_name else None
        hint = "use an adapter made for exactly this model" + (f"; {made_for}" if made_for else "")
        raise problems.error(f"adapter {adapter.label} ({adapter.path}) does not fit the model:", hint)


def plain(module: nn.Module) -> nn.Module:
    """The module itself, or the one that a stacked layer stands in for."""
    base = getattr(module, "stands_for", module)
    return base if isinstance(base, nn.Module) else module


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_in, d_out) of a layer that computes x @ W + bias row by row, None for any other module.

    Subclasses of nn.Linear may compute something else (routers, block-diagonal, quantised layers), hence the
    exact types: nn.Linear, transformers' Conv1D and FalconLinear.
    """
    module = plain(module)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.dtype not in FLOATS:
        return None
    if type(module) in (nn.Linear, PlainLinear, PrepackedLinear) or type(module).__name__ == "FalconLinear":
        return weight.shape[1], weight.shape[0]
    if is_conv1d(module):
        return weight.shape[0], weight.shape[1]
    return None


def _check_files(path: Path, label: str) -> None:
    """Whether both files are there, or why not."""
    if not path.is_dir():
        what = "is a file, not an adapter folder" if path.exists() else "does not exist"
        raise AdapterError(
            f"adapter {label}: {path} {what}",
            hint=f"give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
        )
    if not (path / CONFIG_FILE).is_file():
        hint = None
        if (path / "config.json").is_file():
            hint = "this folder holds a full model; as an expert it is a `checkpoint`"
        else:
            below = sorted(found.parent.name for found in path.glob(f"*/{CONFIG_FILE}"))
            hint = f"adapters lie in its subfolders: {', '.join(below[:8])}" if below else None
        raise AdapterError(f"adapter {label}: {path} has no {CONFIG_FILE}", hint=hint)
    if not (path / WEIGHTS_FILE).is_file():
        pickled = any((path / name).is_file() for name in ("adapter_model.bin", "adapter_model.pt"))
        if pickled:
            raise AdapterError(
                f"adapter {label}: {path} holds its weights as pickle only, which can run code on loading",
                hint=f"convert it to {WEIGHTS_FILE} with the PEFT version it comes from",
            )
        raise AdapterError(f"adapter {label}: {path} has no {WEIGHTS_FILE}")


def _read_config(content: bytes, path: Path, label: str) -> tuple[LoraConfig, _Problems]:
    where = f"adapter {label}: {path / CONFIG_FILE}"
    if len(content) > MAX_CONFIG_BYTES:
        raise AdapterError(f"{where} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        data: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{where} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise AdapterError(f"{where} must hold a JSON object")
    config, texts = parse_config(data)
    problems = _Problems()
    for text in texts:
        problems.add(f"{CONFIG_FILE}: {text}")
    return config, problems


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


def _sort_tensors(
    tensors: Mapping[str, Tensor], config: LoraConfig, problems: _Problems
) -> tuple[dict[str, LoraPair], dict[str, Tensor]]:
    """Give every tensor its use: pairs by module, copies of base weights by parameter; note the rest."""
    halves: dict[str, dict[str, Tensor]] = {}
    copies: dict[str, Tensor] = {}
    usable = not problems  # only a valid configuration knows ranks and scales
    for key, tensor in tensors.items():
        if not key.startswith(PREFIX):
            problems.add(f"a tensor without the prefix {PREFIX}", key)
            continue
        name = key.removeprefix(PREFIX)
        if tensor.dtype not in FLOATS:
            problems.add(f"of type {str(tensor.dtype).removeprefix('torch.')}, a float type is needed", key)
        elif not bool(torch.isfinite(tensor).all()):
            problems.add("has values that are NaN or infinite", key)
        half = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name)
        if half is not None:
            halves.setdefault(half.group(1), {})[half.group(2)] = tensor
        elif ".lora_embedding_" in name:
            problems.add("adapts an embedding; not implemented", key)
        elif "lora_" in name or not name.endswith((".weight", ".bias")):
            problems.add("a tensor without a use here", key)
        else:
            copies[name.replace(".base_layer.", ".")] = tensor
    if not halves:
        problems.add(f"{WEIGHTS_FILE} holds no LoRA tensors")
    pairs = {}
    for module, half_of in halves.items():
        text = _bad_pair(half_of, config.rank(module) if usable else None)
        if text is not None:
            problems.add(text, module)
        elif usable:
            pairs[module] = LoraPair(half_of["A"], half_of["B"], config.scale(module))
    return pairs, copies


def _bad_pair(half_of: Mapping[str, Tensor], rank: int | None) -> str | None:
    """What is wrong with the A and B of one module."""
    if len(half_of) < 2:
        return f"lora_{'B' if 'A' in half_of else 'A'} is missing"
    a, b = half_of["A"], half_of["B"]
    shapes = f"lora_A is {tuple(a.shape)}, lora_B is {tuple(b.shape)}"
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        return f"{shapes}; they must be (r, d_in) and (d_out, r)"
    if rank is not None and a.shape[0] != rank:
        return f"{shapes}, but the configuration gives rank {rank}"
    return None


def _misfit(name: str, pair: LoraPair, module: nn.Module | None) -> str | None:
    """Why the pair cannot be added to the module."""
    if ".experts." in f".{name}.":
        return "adapts an expert of a mixture-of-experts layer; not implemented"
    if module is None:
        return "the model has no such module"
    shape = linear_shape(module)
    if shape is None:
        kind = type(plain(module)).__name__
        return f"is of type {kind}; only linear layers (Linear, Conv1D) can be adapted"
    d_in, d_out = shape
    needed = ((pair.a.shape[0], d_in), (d_out, pair.b.shape[1]))
    if (tuple(pair.a.shape), tuple(pair.b.shape)) != needed:
        return (
            f"lora_A is {tuple(pair.a.shape)} and lora_B {tuple(pair.b.shape)}, "
            f"the model needs {needed[0]} and {needed[1]}"
        )
    return None


def _claimed(targets: Targets, model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterable[str]:
    """Names of the modules that the configuration selects, by PEFT's rules."""
    head = _output_embedding(model)
    for name, module in modules.items():
        if not name:
            continue
        base = plain(module)
        if targets.all_linear and (module is head or not (isinstance(base, nn.Linear) or is_conv1d(base))):
            continue
        if targets.matches(name):
            yield name


def _output_embedding(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head if isinstance(head, nn.Module) else None


def is_conv1d(module: nn.Module) -> bool:
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")


def _same(own: Tensor, copy: Tensor) -> bool:
    """Equal up to the coarser of the two dtypes. A model of shapes alone has no values to differ."""
    if own.is_meta:
        return True
    own, copy = dense(own.detach()).cpu(), copy.detach()
    return torch.equal(own.to(copy.dtype), copy) or torch.equal(own, copy.to(own.dtype))


def _fingerprint(config: bytes, weights: Path) -> str:
    """BLAKE2b (32 hex digits) of the two contents."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(config).to_bytes(8, "big") + config)
    with weights.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 → "0-2,5"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
