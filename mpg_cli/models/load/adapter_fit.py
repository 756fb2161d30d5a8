"""Check of an adapter against a model: module names, shapes, module types, copies of base weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import torch
from torch import Tensor, nn

from mpg_cli.io.text import visible
from mpg_cli.models.linear import base_layer, is_conv1d, linear_shape
from mpg_cli.models.load.adapter import MERGE_HINT, TOKENS_HINT, Adapter, LoraPair
from mpg_cli.models.load.gguf import lora
from mpg_cli.models.load.problems import Problems
from mpg_cli.personas.adapter_config import Targets, fits_pattern, has_suffix
from mpg_cli.personas.adapter_names import Names, is_not_text
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE


def fit_adapter(adapter: Adapter, model: nn.Module) -> Adapter:
    """The adapter with the module names of the model, after checking that it fits.

    Raises one AdapterError with all problems: tensors for modules that do not exist or that the configuration
    of the adapter does not select, selected modules without tensors, wrong shapes, unsupported module types,
    copies that differ from the base. Works before and after `LoraBank` has replaced layers.
    """
    if adapter.architecture is not None:
        adapter = lora.of_model(adapter, model)
    modules = dict(model.named_modules())
    backbone = str(getattr(model, "base_model_prefix", ""))
    names = Names(modules, backbone)
    places = {spelled: names.find(spelled) for spelled in adapter.pairs}
    taken = Counter(name for found in places.values() for name in found)
    problems = Problems()
    hint = _check_pairs(adapter, places, taken, model, modules, problems)
    for name in _claimed(adapter.targets, model, modules, names.respell(places)):
        if name not in taken:
            kind = type(base_layer(modules[name])).__name__
            text = "target_modules selects it, but the file has no tensors for it"
            if linear_shape(modules[name]) is None:
                text = f"target_modules selects it, but it is of type {kind}, which is not supported"
            problems.add(text, name)
    for pattern in _unclear(adapter.idle, taken.keys(), modules):
        text = f"has a rank or alpha for '{visible(pattern, 100)}', but the file has no such module"
        problems.add(f"{CONFIG_FILE}: {text}")
        hint = hint or f"spell the pattern like its module in {WEIGHTS_FILE}"
    hint = check_copies(adapter.copies, adapter.saved, model, backbone, problems) or hint
    if problems:
        made_for = f"it names {adapter.base_name} as its base" if adapter.base_name else None
        hint = hint or "use an adapter made for exactly this model" + (f"; {made_for}" if made_for else "")
        raise problems.error(f"adapter {adapter.label} ({adapter.path}) does not fit the model:", hint)
    return replace(adapter, pairs={places[spelled][0]: pair for spelled, pair in adapter.pairs.items()})


def _check_pairs(
    adapter: Adapter,
    places: Mapping[str, Sequence[str]],
    taken: Mapping[str, int],
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    problems: Problems,
) -> str | None:
    """Add problems for pairs that cannot or should not be added to the model; returns a hint, if any.

    `places` are the modules that each spelling can mean, `taken` counts the spellings of a module.
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
    """The problem of a pair for an output embedding with more tokens; None for other pairs."""
    d_in, d_out = linear_shape(head) or (0, 0)
    grown = pair.a.shape[1] == d_in and len(pair.b) > d_out
    return f"lora_B {added(len(pair.b), d_out)}" if grown else None


def _misfit(
    spelled: str, pair: LoraPair, found: Sequence[str], modules: Mapping[str, nn.Module]
) -> str | None:
    """Why the pair cannot be added to the module of its name; None if it can."""
    if ".experts." in f".{spelled}.":
        return "adapts an expert of a mixture-of-experts layer; not implemented"
    if not found:
        return "the model has no such module"
    if len(found) > 1:
        return several(found)
    module = modules[found[0]]
    shape = linear_shape(module)
    if shape is None:
        kind = type(base_layer(module)).__name__
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
    """Names of text modules that the configuration selects by PEFT's rules.

    A configuration spells modules like its file: `respell` converts the name of a module to that spelling.
    """
    head, body = _output_embedding(model), _text_body(model, modules)
    for name, module in modules.items():
        base = base_layer(module)
        of_text = name.startswith(body) and not is_not_text(name)
        if not name or not (of_text or module is head):
            continue
        if targets.all_linear and (module is head or not (isinstance(base, nn.Linear) or is_conv1d(base))):
            continue
        if targets.selects(*respell(name)):
            yield name


def _text_body(model: nn.Module, modules: Mapping[str, nn.Module]) -> str:
    """The name prefix of the layers for text; "" where the model does not define it."""
    get = getattr(model, "get_decoder", None)
    body = get() if callable(get) else None
    if body is None or not any(body.children()):  # some return the output layer
        return ""
    return next((f"{name}." for name, module in modules.items() if name and module is body), "")


def _unclear(idle: Iterable[str], taken: Set[str], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Patterns without effect that may have had one in training, on modules renamed in the file.

    Patterns that match only unadapted modules of the model are fine.
    """
    for pattern in idle:
        meant = [name for name in modules if fits_pattern(pattern, name)]
        if not is_not_text(pattern) and (not meant or not taken.isdisjoint(meant)):
            yield pattern


def _output_embedding(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head if isinstance(head, nn.Module) else None


def check_copies(
    copies: Mapping[str, Tensor], saved: Sequence[str], model: nn.Module, backbone: str, problems: Problems
) -> str | None:
    """Add problems for copies that differ from the model, and for modules of `saved` without any.

    Returns a hint, if any.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False)) if copies else {}
    names = Names(parameters, backbone)
    hint, present = None, set()
    for name, copy in copies.items():
        found = names.find(name)
        present.update(found)
        if not found:
            problems.add("the model has no such weight", name)
        elif len(found) > 1:
            problems.add(several(found), name)
        elif _longer(copy, own := parameters[found[0]]):
            problems.add(added(len(copy), len(own)), name)
            hint = TOKENS_HINT
        elif not _same(own, copy):
            problems.add("the file has a version that differs from the base; not implemented", name)
            hint = hint or MERGE_HINT
    for name, _ in model.named_modules():
        whole = has_suffix(name, saved) and not is_not_text(name)
        if whole and not any(weight.startswith(f"{name}.") for weight in present):
            problems.add("modules_to_save names it, but the file has no weights for it", name)
    return hint


def several(found: Sequence[str]) -> str:
    """The problem of an ambiguous name."""
    return f"can be {' or '.join(found)} of the model: ambiguous"


def added(rows: int, own: int) -> str:
    """The problem of a tensor with rows for more tokens than the model has."""
    return f"has {rows} rows, the model {own}: tokens were added in training"


def _longer(copy: Tensor, own: Tensor) -> bool:
    return copy.dim() == 2 and copy.shape[1:] == own.shape[1:] and len(copy) > len(own)


def _same(own: Tensor, copy: Tensor) -> bool:
    """Equal up to the coarser of the two dtypes; on the meta device only shapes are compared.

    The copy may lack rows at the end: an embedding that was cut to the size of the tokenizer.
    """
    if copy.shape[1:] != own.shape[1:] or len(copy) > len(own):
        return False
    if own.is_meta:
        return True
    own, copy = own.detach().to_dense()[: len(copy)].cpu(), copy.detach()
    return torch.equal(own.to(copy.dtype), copy) or torch.equal(own, copy.to(own.dtype))
