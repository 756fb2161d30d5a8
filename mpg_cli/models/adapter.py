"""PEFT LoRA adapters, read straight from adapter_config.json and adapter_model.safetensors.

PEFT itself loads with a warning at most: missing layers, left-over tensors, NaN. Here every tensor must have
a use, every module that the configuration targets must be there, shapes must fit and values must be finite;
all that is wrong with an adapter comes in one error. Knows nothing about transformers: a model is an
`nn.Module` with names.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.adapter_config import LoraConfig, Targets, has_suffix, parse_config
from mpg_cli.models.adapter_folder import MLX_HINT, check_folder, is_mlx
from mpg_cli.models.adapter_names import Names, parse_key
from mpg_cli.models.prepacked import PlainLinear, PrepackedLinear, dense
from mpg_cli.models.problems import Problems
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

MAX_CONFIG_BYTES = 8 << 20
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
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
    """A checked adapter: `pairs` by module name, on the CPU in the file's dtype.

    As `read_adapter` gives it, names are those of the model it was trained on; `fit_adapter` gives it with
    the names of the model at hand. `label` and `path` name it in messages, `base_name` is what it calls its
    base (often empty or outdated), `fingerprint` the BLAKE2b of configuration and weights. `copies` are whole
    weights of the base that the file carries along, by parameter name; they must equal the base's. `saved`
    are the modules that it should carry as a whole.
    """

    label: str
    path: Path
    pairs: Mapping[str, LoraPair]
    base_name: str | None
    fingerprint: str
    targets: Targets = field(repr=False)
    copies: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    saved: tuple[str, ...] = ()


def read_adapter(path: Path, label: str) -> Adapter:
    """Read and check the adapter in the folder `path`; `label` is the name that messages use.

    Raises AdapterError, listing all problems, for a missing, damaged or unsupported adapter. Whether it fits
    a model is another question: `fit_adapter`.
    """
    check_folder(path, label)
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
        saved=config.saved,
    )


def fit_adapter(adapter: Adapter, model: nn.Module) -> Adapter:
    """The adapter by the names of the model's modules, once it is sure that it belongs to the model.

    Raises one AdapterError with everything wrong: tensors for modules that do not exist or that the adapter's
    own configuration does not select, selected modules without tensors, shapes, kinds of module that cannot
    be served, copied base weights that differ. Works before and after `LoraBank` took the model over.
    """
    modules = dict(model.named_modules())
    names = Names(modules, _backbone(model))
    places = {spelled: names.find(spelled) for spelled in adapter.pairs}
    taken = Counter(name for found in places.values() for name in found)
    problems = Problems()
    for spelled, pair in adapter.pairs.items():
        found = places[spelled]
        text = _misfit(spelled, pair, found, modules)
        if text is None and adapter.targets.all_linear and modules[found[0]] is _output_embedding(model):
            text = 'the file adapts it, though target_modules "all-linear" leaves the output embedding out'
        if text is None and not adapter.targets.selects(spelled, found[0]):
            text = "the file adapts it, but target_modules of the configuration does not select it"
        if text is None and taken[found[0]] > 1:
            text = "the file has tensors for it under another name as well"
        if text is not None:
            problems.add(text, spelled)
    for name in _claimed(adapter.targets, model, modules, names.respell(places)):
        if name not in taken:
            kind = type(plain(modules[name])).__name__
            text = "target_modules selects it, but the file has no tensors for it"
            if linear_shape(modules[name]) is None:
                text = f"target_modules selects it, but it is of type {kind}, which is not supported"
            problems.add(text, name)
    hint = _check_copies(adapter, model, modules, problems)
    if problems:
        made_for = f"it says it was made for {adapter.base_name}" if adapter.base_name else None
        hint = hint or "use an adapter made for exactly this model" + (f"; {made_for}" if made_for else "")
        raise problems.error(f"adapter {adapter.label} ({adapter.path}) does not fit the model:", hint)
    return replace(adapter, pairs={places[spelled][0]: pair for spelled, pair in adapter.pairs.items()})


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


def _read_config(content: bytes, path: Path, label: str) -> tuple[LoraConfig, Problems]:
    where = f"adapter {label}: {path / CONFIG_FILE}"
    if len(content) > MAX_CONFIG_BYTES:
        raise AdapterError(f"{where} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        data: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{where} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise AdapterError(f"{where} must hold a JSON object")
    if is_mlx(data):
        raise AdapterError(f"adapter {label}: {path} is an MLX adapter", hint=MLX_HINT)
    config, texts = parse_config(data)
    problems = Problems()
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
    tensors: Mapping[str, Tensor], config: LoraConfig, problems: Problems
) -> tuple[dict[str, LoraPair], dict[str, Tensor]]:
    """Give every tensor its use: pairs by module, copies of base weights by parameter; note the rest."""
    halves: dict[str, dict[str, Tensor]] = {}
    copies: dict[str, Tensor] = {}
    adapters = set()
    usable = not problems  # only a valid configuration knows ranks and scales
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
        named = ", ".join(sorted(f"'{name}'" if name else "one without a name" for name in adapters))
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
    """What rules the tensor out whatever it is for."""
    if tensor.dtype not in FLOATS:
        return f"of type {str(tensor.dtype).removeprefix('torch.')}, a float type is needed"
    if not bool(torch.isfinite(tensor).all()):
        return "has values that are NaN or infinite"
    if not tensor.numel():
        return "is empty; save the adapter again with its weights gathered (DeepSpeed ZeRO-3, FSDP)"
    return None


def _useless(key: str, name: str) -> str | None:
    """Why a tensor that is no half of a LoRA is no copy of a base weight either."""
    if ".lora_embedding_" in name:
        return "adapts an embedding; not implemented"
    if any(part in key for part in _IMAGE_KEYS):
        return "belongs to a LoRA for image models (kohya, diffusers)"
    if name.endswith((".lora_a", ".lora_b")):
        return "is MLX's, whose factors lie the other way round"
    if "lora_" in name or not name.endswith((".weight", ".bias")):
        return "a tensor without a use here"
    return None


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


def _misfit(
    spelled: str, pair: LoraPair, found: Sequence[str], modules: Mapping[str, nn.Module]
) -> str | None:
    """Why the pair cannot be added to the module that its name means."""
    if ".experts." in f".{spelled}.":
        return "adapts an expert of a mixture-of-experts layer; not implemented"
    if not found:
        return "the model has no such module"
    if len(found) > 1:
        return f"it can be {' or '.join(found)} of the model"
    module = modules[found[0]]
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


def _claimed(
    targets: Targets,
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    respell: Callable[[str], Iterable[str]],
) -> Iterable[str]:
    """Names of the modules that text passes and that the configuration selects, by PEFT's rules.

    A configuration speaks of modules as its file does: `respell` gives a module's name as the file would.
    """
    head, body = _output_embedding(model), _text_body(model, modules)
    for name, module in modules.items():
        base = plain(module)
        if not name or not (name.startswith(body) or module is head):
            continue
        if targets.all_linear and (module is head or not (isinstance(base, nn.Linear) or is_conv1d(base))):
            continue
        if targets.selects(*respell(name)):
            yield name


def _check_copies(
    adapter: Adapter, model: nn.Module, modules: Mapping[str, nn.Module], problems: Problems
) -> str | None:
    """Note whole weights that are not the base's own, or are missing; a hint for what was found."""
    parameters = dict(model.named_parameters(remove_duplicate=False)) if adapter.copies else {}
    names = Names(parameters, _backbone(model))
    hint, there = None, set()
    for name, copy in adapter.copies.items():
        found = names.find(name)
        there.update(found)
        own = parameters[found[0]] if len(found) == 1 else None
        if own is None:
            problems.add("the file brings this weight, and the model has none of this name", name)
        elif copy.dim() == 2 and copy.shape[1:] == own.shape[1:] and len(copy) > len(own):
            text = f"has {len(copy)} rows, the model {len(own)}: tokens were added in training"
            problems.add(text, name)
            hint = TOKENS_HINT
        elif not _same(own, copy):
            problems.add("the file brings its own version, and it is not the base's; not implemented", name)
            hint = hint or MERGE_HINT
    for name in modules:
        if has_suffix(name, adapter.saved) and not any(weight.startswith(f"{name}.") for weight in there):
            problems.add("modules_to_save names it, but the file has no weights for it", name)
    return hint


def _text_body(model: nn.Module, modules: Mapping[str, nn.Module]) -> str:
    """What stands before the names of the layers that text passes; towers for images are elsewhere."""
    get = getattr(model, "get_decoder", None)
    body = get() if callable(get) else None
    return next((f"{name}." for name, module in modules.items() if name and module is body), "")


def _backbone(model: nn.Module) -> str:
    return str(getattr(model, "base_model_prefix", ""))


def _output_embedding(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head if isinstance(head, nn.Module) else None


def is_conv1d(module: nn.Module) -> bool:
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")


def _same(own: Tensor, copy: Tensor) -> bool:
    """Equal up to the coarser of the two dtypes. A model of shapes alone has no values to differ.

    The copy may leave out rows at the end: an embedding that was cut to the tokenizer's size.
    """
    if copy.shape[1:] != own.shape[1:] or len(copy) > len(own):
        return False
    if own.is_meta:
        return True
    own, copy = dense(own.detach())[: len(copy)].cpu(), copy.detach()
    return torch.equal(own.to(copy.dtype), copy) or torch.equal(own, copy.to(own.dtype))


def _fingerprint(config: bytes, weights: Path) -> str:
    """BLAKE2b (32 hex digits) of the two contents."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(config).to_bytes(8, "big") + config)
    with weights.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
