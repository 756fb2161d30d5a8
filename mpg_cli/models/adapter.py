"""PEFT LoRA adapters, read straight from adapter_config.json and adapter_model.safetensors.

PEFT itself loads with a warning at most: missing layers, left-over tensors, NaN. Here every tensor must have
a use, every module that the configuration targets must be there, shapes must fit and values must be finite;
all that is wrong with an adapter comes in one error. Knows nothing about transformers: a model is an
`nn.Module` with names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.io.text import visible
from mpg_cli.models.adapter_copies import MERGE_HINT, TOKENS_HINT, added, check_copies, several
from mpg_cli.models.linear import FLOATS, is_conv1d, linear_shape, plain
from mpg_cli.models.problems import Problems
from mpg_cli.personas.adapter_config import LoraConfig, Targets, fits_pattern, parse_config
from mpg_cli.personas.adapter_folder import check_folder, load_config
from mpg_cli.personas.adapter_names import Names, beside_text, parse_key
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

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
    are the modules that it should carry as a whole, `left_out` names of modules that text does not pass,
    `idle` patterns of the configuration that fit no name of the file. `notice` is what the user should know.
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

    @property
    def notice(self) -> str | None:
        if not self.left_out:
            return None
        return (
            f"adapter {self.label} adapts parts for pictures or sound as well, such as "
            f"{visible(self.left_out[0], 80)}; text does not pass them, and they are left out"
        )


def read_adapter(path: Path, label: str) -> Adapter:
    """Read and check the adapter in the folder `path`; `label` is the name that messages use.

    Raises AdapterError, listing all problems, for a missing, damaged or unsupported adapter. Whether it fits
    a model is another question: `fit_adapter`.
    """
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
        problems.add(f"what the file adapts is for pictures or sound, such as {left_out[0]}")
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
        left_out=left_out,
        idle=config.idle((*pairs, *left_out)),
    )


def fit_adapter(adapter: Adapter, model: nn.Module) -> Adapter:
    """The adapter by the names of the model's modules, once it is sure that it belongs to the model.

    Raises one AdapterError with everything wrong: tensors for modules that do not exist or that the adapter's
    own configuration does not select, selected modules without tensors, shapes, kinds of module that cannot
    be served, copied base weights that differ. Works before and after `LoraBank` took the model over.
    """
    modules = dict(model.named_modules())
    backbone = str(getattr(model, "base_model_prefix", ""))
    names = Names(modules, backbone)
    places = {spelled: names.find(spelled) for spelled in adapter.pairs}
    taken = Counter(name for found in places.values() for name in found)
    problems = Problems()
    hint = _check_pairs(adapter, places, taken, model, modules, problems)
    for name in _claimed(adapter.targets, model, modules, names.respell(places)):
        if name not in taken:
            kind = type(plain(modules[name])).__name__
            text = "target_modules selects it, but the file has no tensors for it"
            if linear_shape(modules[name]) is None:
                text = f"target_modules selects it, but it is of type {kind}, which is not supported"
            problems.add(text, name)
    for pattern in _unclear(adapter.idle, taken.keys(), modules):
        text = f"a rank or alpha is for '{visible(pattern, 100)}', and the file has no module of this name"
        problems.add(f"{CONFIG_FILE}: {text}")
        hint = hint or f"spell the pattern as {WEIGHTS_FILE} spells the module that it is for"
    hint = check_copies(adapter.copies, adapter.saved, model, backbone, problems) or hint
    if problems:
        made_for = f"it says it was made for {adapter.base_name}" if adapter.base_name else None
        hint = hint or "use an adapter made for exactly this model" + (f"; {made_for}" if made_for else "")
        raise problems.error(f"adapter {adapter.label} ({adapter.path}) does not fit the model:", hint)
    return replace(adapter, pairs={places[spelled][0]: pair for spelled, pair in adapter.pairs.items()})


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
    """The tensors of what text passes, and the names of what it does not."""
    names = {key: parse_key(key).name for key in tensors}
    others = dict.fromkeys(name for name in names.values() if beside_text(name))
    return {key: tensors[key] for key, name in names.items() if name not in others}, tuple(others)


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


def _check_pairs(
    adapter: Adapter,
    places: Mapping[str, Sequence[str]],
    taken: Mapping[str, int],
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    problems: Problems,
) -> str | None:
    """Note pairs that cannot be added to the model, or should not be; a hint for what was found.

    `places` has the modules that each spelling can mean, `taken` how many spellings mean a module.
    """
    hint, head = None, _output_embedding(model)
    for spelled, pair in adapter.pairs.items():
        found = places[spelled]
        text = _misfit(spelled, pair, found, modules)
        at_head = len(found) == 1 and modules[found[0]] is head
        if text is not None and at_head and (more := _more_tokens(pair, modules[found[0]])):
            text, hint = more, TOKENS_HINT
        if text is None and adapter.targets.all_linear and at_head:
            text = 'the file adapts it, though target_modules "all-linear" leaves the output embedding out'
        if text is None and not adapter.targets.selects(spelled, found[0]):
            text = "the file adapts it, but target_modules of the configuration does not select it"
        if text is None and taken[found[0]] > 1:
            text = "the file has tensors for it under another name as well"
        if text is not None:
            problems.add(text, spelled)
    return hint


def _more_tokens(pair: LoraPair, head: nn.Module) -> str | None:
    """That the pair is for an output embedding of more tokens."""
    d_in, d_out = linear_shape(head) or (0, 0)
    grown = pair.a.shape[1] == d_in and len(pair.b) > d_out
    return f"lora_B {added(len(pair.b), d_out)}" if grown else None


def _misfit(
    spelled: str, pair: LoraPair, found: Sequence[str], modules: Mapping[str, nn.Module]
) -> str | None:
    """Why the pair cannot be added to the module that its name means."""
    if ".experts." in f".{spelled}.":
        return "adapts an expert of a mixture-of-experts layer; not implemented"
    if not found:
        return "the model has no such module"
    if len(found) > 1:
        return several(found)
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
        of_text = name.startswith(body) and not beside_text(name)
        if not name or not (of_text or module is head):
            continue
        if targets.all_linear and (module is head or not (isinstance(base, nn.Linear) or is_conv1d(base))):
            continue
        if targets.selects(*respell(name)):
            yield name


def _text_body(model: nn.Module, modules: Mapping[str, nn.Module]) -> str:
    """What stands before the names of the layers that text passes; "" where the model does not say."""
    get = getattr(model, "get_decoder", None)
    body = get() if callable(get) else None
    if body is None or not any(body.children()):  # of some it is the output layer
        return ""
    return next((f"{name}." for name, module in modules.items() if name and module is body), "")


def _unclear(idle: Iterable[str], taken: Set[str], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Patterns without effect that may have had one in training, on modules that are renamed in the file.

    None of those are patterns for modules of the model that are not adapted.
    """
    for pattern in idle:
        meant = [name for name in modules if fits_pattern(pattern, name)]
        if not beside_text(pattern) and (not meant or not taken.isdisjoint(meant)):
            yield pattern


def _output_embedding(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head if isinstance(head, nn.Module) else None


def _fingerprint(config: bytes, weights: Path) -> str:
    """BLAKE2b (32 hex digits) of the two contents."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(config).to_bytes(8, "big") + config)
    with weights.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
