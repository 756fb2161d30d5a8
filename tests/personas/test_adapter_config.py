"""The allow-list over adapter_config.json: what is inert, implemented, refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.personas.adapter_config import IMPLEMENTED, INERT, UNSUPPORTED, Targets, parse_config
from tests.support.adapters import edit_config, tiny_adapter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_adapter(tmp_path / "pirate", targets=["q_proj", "v_proj"])


def refused(folder: Path) -> str:
    with pytest.raises(AdapterError, match="adapter pirate") as caught:
        read_adapter(folder, "pirate")
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def test_every_field_of_pefts_lora_is_classified() -> None:
    """A newer PEFT may add fields: they are refused when set, and this test says so first."""
    from peft import LoraConfig

    known = INERT | IMPLEMENTED | UNSUPPORTED.keys()
    assert {field.name for field in fields(LoraConfig)} <= known


def test_pefts_defaults_raise_no_problem() -> None:
    from peft import LoraConfig

    written = json.loads(json.dumps(LoraConfig(target_modules=["q_proj"]).to_dict(), default=list))
    assert parse_config(written)[1] == []


@pytest.mark.parametrize(
    "field, value",
    [
        ("use_dora", True),
        ("modules_to_save", "lm_head"),
        ("bias", "some"),
        ("enable_lora", [True, False, True]),
        ("use_merged_linear", True),
        ("use_qa_lora", True),
        ("swift_type", "LONGLORA"),
        ("lora_bias", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "lora_ga"),
        ("init_lora_weights", "something_new"),
        ("init_lora_weights", 1),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("alora_invocation_tokens", [1, 2]),
        ("trainable_token_indices", [5]),
        ("layer_replication", [[0, 2]]),
        ("use_qalora", True),
        ("velora_config", {"num_groups": 2}),
        ("monteclora_config", {"num_samples": 2}),
        ("megatron_config", {"a": 1}),
        ("arrow_config", {"top_k": 1}),
        ("kasa_config", {"beta": 1}),
        ("use_bdlora", {"nblocks": 2}),
        ("ensure_weight_tying", True),
        ("invented_by_the_next_version", "on"),
        ("peft_type", "LOHA"),
        ("r", 0),
        ("r", "16"),
        ("r", True),
        ("lora_alpha", float("nan")),
        ("lora_alpha", "8"),
        ("use_rslora", "yes"),
        ("rank_pattern", {"q_proj": -1}),
        ("rank_pattern", {"(": 2}),
        ("alpha_pattern", {"q_proj": None}),
        ("alpha_pattern", [1]),
        ("target_modules", None),
        ("target_modules", []),
        ("target_modules", "("),
        ("target_modules", [1]),
        ("exclude_modules", "["),
        ("layers_to_transform", "all"),
        ("layers_to_transform", [0, "x"]),
        ("layers_pattern", ["("]),
    ],
)
def test_a_field_that_is_not_implemented_or_wrong_is_named(folder: Path, field: str, value: Any) -> None:
    edit_config(folder, {field: value})
    text = refused(folder)
    assert f"adapter_config.json: {field} is " in text
    assert "merge_and_unload" in text


def test_neutral_values_of_unknown_fields_pass(folder: Path) -> None:
    edit_config(
        folder, {"new_switch": False, "new_map": {}, "new_list": [], "new_value": None, "new_text": ""}
    )
    assert read_adapter(folder, "pirate").pairs


@pytest.mark.parametrize("field", sorted(INERT - {"base_model_name_or_path"}))
def test_inert_fields_may_hold_anything(folder: Path, field: str) -> None:
    before = read_adapter(folder, "pirate").pairs
    edit_config(folder, {field: {"any": "thing"}})
    assert read_adapter(folder, "pirate").pairs.keys() == before.keys()


@pytest.mark.parametrize(
    "field, value",
    [
        ("peft_type", "lora"),
        ("peft_type", "PeftType.LORA"),
        ("swift_type", "LORA"),
        ("task_type", "SEQ_2_SEQ_LM"),
        ("task_type", "TaskType.CAUSAL_LM"),
        ("task_type", "causal_lm"),
        ("task_type", "none"),
        ("init_lora_weights", "Gaussian"),
        ("init_lora_weights", "true"),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("bias", None),
        ("modules_to_save", ["score"]),
        ("lorap_lr_ratio", 16.0),
        ("lorap_emb_lr", 1e-6),
        ("loraplus_lr_ratio", 16.0),
        ("unsloth_fixed", True),
        ("enable_lora", None),
        ("merge_weights", False),
    ],
)
def test_a_field_that_changes_nothing_is_accepted(folder: Path, field: str, value: Any) -> None:
    before = read_adapter(folder, "pirate").pairs
    edit_config(folder, {field: value})
    after = read_adapter(folder, "pirate").pairs
    assert after.keys() == before.keys()
    assert all(pair.scale == before[name].scale for name, pair in after.items())


@pytest.mark.parametrize(
    "targets",
    [
        Targets(("q_proj", "mlp.up_proj")),
        Targets(("proj",)),
        Targets(r".*layers\.1\..*_proj"),
        Targets(("q_proj", "up_proj"), exclude=("layers.0.mlp.up_proj",)),
        Targets(("q_proj", "up_proj"), exclude=r".*\.0\..*"),
        Targets(("q_proj",), layers=(1, 2)),
        Targets(("q_proj",), layers=(0,), layers_pattern=("blocks", "layers")),
        Targets(("q_proj",), layers=(0,), layers_pattern=("blocks",)),
        Targets(("model.layers.1.self_attn.q_proj",), layers=(0,)),
    ],
)
def test_matching_is_pefts(targets: Targets) -> None:
    """Name by name against PEFT's own function."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = LoraConfig(
        target_modules=_like_peft(targets.modules), exclude_modules=_like_peft(targets.exclude)
    )
    config.layers_to_transform = list(targets.layers) or None
    config.layers_pattern = list(targets.layers_pattern) or None
    names = [
        f"model.layers.{i}.{part}" for i in range(3) for part in ("self_attn.q_proj", "mlp.up_proj", "mlp")
    ]
    names += ["model.layers.1.mlp.experts.0.up_proj", "lm_head", "q_proj", "model.norm"]
    for name in names:
        found = check_target_module_exists(config, name)
        excluded = type(found).__name__ == "_ExcludedModule"
        assert targets.matches(name) == (bool(found) and not excluded), name


def _like_peft(value: str | tuple[str, ...]) -> str | list[str] | None:
    return value if isinstance(value, str) else list(value) or None
