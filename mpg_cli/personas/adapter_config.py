"""Parses adapter_config.json with an allow-list of fields.

PEFT's LoRA has some thirty fields, and other trainers add theirs. Fields that only affect training are
ignored; a few are implemented; every other field must have its neutral value. A field that changes the
computation, and any unknown field, is an error that names it: ignoring it would silently give a wrong model.
Fields about the file's own tensors (`bias`, `modules_to_save`, the head of a `task_type`) are checked against
the tensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpg_cli.personas.adapter_names import unwrapped

# Fields without effect on the output of a trained adapter.
INERT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",  # an initialisation, checked by init_lora_weights
        "eva_config",
        "fan_in_fan_out",  # PEFT follows the module's type; A and B have the same layout in either
        "inference_mode",
        "lora_dropout",
        "lora_ga_config",
        "loftq_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",  # checked by use_qalora
        "revision",
        "runtime_config",
        "task_type",  # a classifier's head is a tensor of the file
        # earlier versions of PEFT
        "merge_weights",
        "_from_model_config",
        # provenance
        "_name_or_path",
        "architectures",
        "base_model_class",
        "dtype",
        "model_type",
        "parent_library",
        "torch_dtype",
        "transformers_version",
        # ms-swift's own LoRA
        "group_size",  # checked by use_qa_lora
        "lora_dtype",
    }
)
# Prefixes of trainers' own fields: LoRA+ of ms-swift and LLaMA-Factory, Unsloth.
INERT_PREFIXES = ("lorap_", "loraplus_", "unsloth_")
# Initialisations that leave the base unchanged. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) subtract
# from the base weights, so the adapter alone is invalid on the published base.
INITIALISATIONS = ("true", "false", "gaussian", "eva", "orthogonal", "mica")  # or a boolean, or null
BIASES = ("none", "all", "lora_only")
# Fields that change the computation and are not implemented, with their effect.
UNSUPPORTED = {
    "alora_invocation_tokens": "activated LoRA switches on in the middle of the prompt",
    "arrow_config": "Arrow routes between several adapters",
    "enable_lora": "adapts some of the projections that one layer joins",
    "ensure_weight_tying": "ties the adapters of tied layers",
    "kasa_config": "KaSA alters the base weights",
    "layer_replication": "repeats layers of the base",
    "lora_bias": "adds a bias to B",
    "megatron_config": "Megatron's parallel layers",
    "monteclora_config": "Monte Carlo LoRA samples its weights",
    "target_parameters": "adapts bare parameters such as fused experts",
    "trainable_token_indices": "single rows of the embedding are replaced",
    "use_bdlora": "block-diagonal factors",
    "use_dora": "DoRA rescales the weights of the base",
    "use_merged_linear": "adapts some of the projections that one layer joins",
    "use_qa_lora": "QA-LoRA pools its inputs",
    "use_qalora": "QALoRA pools its inputs",
    "velora_config": "VeLoRA is another layer",
}
IMPLEMENTED = frozenset(
    {
        "alpha_pattern",
        "bias",
        "exclude_modules",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "modules_to_save",
        "peft_type",
        "r",
        "rank_pattern",
        "swift_type",
        "target_modules",
        "use_rslora",
    }
)


@dataclass(frozen=True)
class Targets:
    """The modules that an adapter targets, by PEFT's rules (`matches` follows `check_target_module_exists`).

    `modules` is a regular expression for the whole name, "all-linear", or suffixes of names.
    """

    modules: str | tuple[str, ...] = ()
    exclude: str | tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()

    @property
    def all_linear(self) -> bool:
        """Whether it targets every linear layer except the output embedding."""
        return isinstance(self.modules, str) and self.modules.lower() == "all-linear"

    def excludes(self, name: str) -> bool:
        """Whether `exclude_modules` excludes the module."""
        if isinstance(self.exclude, str):
            return bool(self.exclude) and re.fullmatch(self.exclude, name) is not None
        return has_suffix(name, self.exclude)

    def matches(self, name: str) -> bool:
        """Whether the module is targeted; for "all-linear" the caller must pass only linear layers."""
        if self.excludes(name):
            return False
        if isinstance(self.modules, str):
            return self.all_linear or re.fullmatch(self.modules, name) is not None
        if name in self.modules:
            return True
        return has_suffix(name, self.modules) and (not self.layers or self._layer(name) in self.layers)

    def selects(self, *names: str) -> bool:
        """Whether the module is targeted under any of its names."""
        return any(map(self.matches, names))

    def _layer(self, name: str) -> int | None:
        patterns = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in self.layers_pattern]
        for pattern in patterns or [r".*?\.[^.]*\.(\d+)\."]:
            found = re.match(pattern, name)
            if found is not None:
                return int(found.group(1))
        return None


@dataclass(frozen=True)
class LoraConfig:
    """The implemented part of an adapter's configuration."""

    r: int = 0
    alpha: float = 0.0
    rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    targets: Targets = Targets()
    base_name: str | None = None
    saved: tuple[str, ...] = ()  # modules whose full weights are in the file

    def rank(self, module: str) -> int:
        """The rank of the module."""
        return int(_first_match(self.rank_pattern, module, self.r))

    def scale(self, module: str) -> float:
        """The factor of B·A: alpha / r, or alpha / √r for rank-stabilised LoRA."""
        rank = self.rank(module)
        alpha = float(_first_match(self.alpha_pattern, module, self.alpha))
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def idle(self, modules: Sequence[str]) -> tuple[str, ...]:
        """The patterns for ranks and alphas that match none of the modules."""
        patterns = dict.fromkeys((*self.rank_pattern, *self.alpha_pattern))
        return tuple(one for one in patterns if not any(fits_pattern(one, name) for name in modules))


def parse_config(data: Mapping[str, Any]) -> tuple[LoraConfig, list[str]]:
    """Parse the fields of an adapter_config.json.

    Returns the configuration and a list of problems, each beginning with the field's name. With problems the
    configuration must not be used.
    """
    problems = [*_unsupported(data)]

    def take(name: str, default: Any, valid: Callable[[Any], bool], expected: str) -> Any:
        value = data.get(name, default)
        if valid(value):
            return value
        problems.append(f"{name} is {_show(value)}; it must be {expected}")
        return default

    def patterns(name: str, valid: Callable[[Any], bool], values: str) -> dict[str, Any]:
        found = take(name, {}, _is_pattern(valid), f"a map from names to {values}") or {}
        return {unwrapped(pattern): value for pattern, value in found.items()}

    take("peft_type", None, lambda v: _word(v) == "lora", '"LORA"')
    take("swift_type", "LORA", lambda v: _word(v) == "lora", '"LORA"')
    take("bias", "none", lambda v: not v or _word(v) in BIASES, '"none", "all" or "lora_only"')
    saved = take("modules_to_save", None, lambda v: not v or _is_list(v), "a list of module names")
    take(
        "init_lora_weights",
        True,
        lambda v: v is None or isinstance(v, bool) or _word(v) in INITIALISATIONS,
        "an initialisation that leaves the base unchanged (this one alters the base weights, or is unknown)",
    )
    targets = _targets(take)
    config = LoraConfig(
        r=take("r", 8, _is_rank, "a positive integer"),
        alpha=take("lora_alpha", 8, _is_number, "a finite number"),
        rslora=bool(take("use_rslora", False, lambda v: v in (None, False, True), "true or false")),
        rank_pattern=patterns("rank_pattern", _is_rank, "ranks"),
        alpha_pattern=patterns("alpha_pattern", _is_number, "numbers"),
        targets=targets,
        base_name=str(data.get("base_model_name_or_path") or "") or None,
        saved=tuple(saved or ()),
    )
    return config, problems


def _unsupported(data: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, value in data.items():
        if name in INERT or name in IMPLEMENTED or name.startswith(INERT_PREFIXES):
            continue
        if name in UNSUPPORTED:
            if value:
                problems.append(f"{name} is {_show(value)}: {UNSUPPORTED[name]}; not implemented")
        elif value:
            problems.append(
                f"{name} is {_show(value)}: unknown field, it may change what the adapter computes"
            )
    return problems


def _targets(take: Callable[[str, Any, Callable[[Any], bool], str], Any]) -> Targets:
    """The checked fields that select modules."""
    names = "a list of module names or a regular expression"
    modules = take("target_modules", None, lambda v: bool(v) and _is_names(v), names)
    exclude = take("exclude_modules", None, lambda v: not v or _is_names(v), names)
    layers = take(
        "layers_to_transform",
        None,
        lambda v: v is None or _is_index(v) or (isinstance(v, list) and all(map(_is_index, v))),
        "a layer index or a list of them",
    )
    pattern = take("layers_pattern", None, lambda v: not v or _is_patterns(v), "a name or a list of names")
    if layers not in (None, []) and isinstance(modules, str):
        take("layers_to_transform", None, lambda v: False, "null where target_modules is an expression")
    return Targets(
        modules=modules if isinstance(modules, str) else tuple(modules or ()),
        exclude=exclude if isinstance(exclude, str) else tuple(exclude or ()),
        layers=(layers,) if isinstance(layers, int) else tuple(layers or ()),
        layers_pattern=(pattern,) if isinstance(pattern, str) and pattern else tuple(pattern or ()),
    )


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)


def fits_pattern(pattern: str, name: str) -> bool:
    """Whether a pattern matches the end of a module's name (PEFT's `get_pattern_key`)."""
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def _first_match(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    return next((value for pattern, value in patterns.items() if fits_pattern(pattern, name)), default)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _word(value: Any) -> str:
    """A value in lower case, without the class name of PEFT's enumerations."""
    return value.rpartition(".")[2].lower() if isinstance(value, str) else ""


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_expression(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    """Whether the value is a list of suffixes or one regular expression."""
    return _is_expression(value) or _is_list(value)


def _is_patterns(value: Any) -> bool:
    return _is_expression(value) or (isinstance(value, list) and all(map(_is_expression, value)))


def _is_pattern(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A test for a map from regular expressions to valid values, or null."""
    return lambda value: (
        value is None
        or (
            isinstance(value, dict)
            and all(_is_expression(name) and valid(entry) for name, entry in value.items())
        )
    )


def _show(value: Any) -> str:
    """A value as JSON, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}…"
