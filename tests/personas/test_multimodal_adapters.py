"""Adapters of multimodal models: the text part is served, what text never passes is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import read_adapter
from tests.support.adapters import (
    PREFIX,
    edit_config,
    edited_tensors,
    fitted,
    refused,
    respelled,
    served,
    swap,
    tiny_adapter,
)
from tests.support.models import (
    ALTERNATING,
    SIZES,
    WINDOW,
    log_probs,
    random_tokens,
    save_model,
    tiny_model,
)

VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def gemma() -> Any:
    """A tiny Gemma 3 with a tower for images, whose language model is what text passes."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = SIZES | WINDOW | {"head_dim": 8, "query_pre_attn_scalar": 8, "layer_types": ALTERNATING}
    config = Gemma3Config(
        text_config=text, vision_config=VISION | {"image_size": 28, "patch_size": 14}, mm_tokens_per_image=4
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma3ForConditionalGeneration(config)
    return model.eval().requires_grad_(False)


OLD = swap(PREFIX + "model.language_model.", PREFIX + "language_model.model.")

GEMMA: dict[str, Callable[[str], str]] = {
    "today's": lambda key: key,
    "before 4.52": OLD,
    "of the text model": swap(PREFIX + "model.language_model.", PREFIX + "model."),
    "no prefix": swap(PREFIX, ""),
}


@pytest.mark.parametrize("spelling", GEMMA)
def test_spellings_of_a_multimodal_model_give_pefts_logits(spelling: str, tmp_path: Path, gemma: Any) -> None:
    """The folder as PEFT wrote it is the oracle: PEFT itself cannot load all of the others."""
    from copy import deepcopy

    from peft import PeftModel

    tokens = random_tokens()
    targets = r".*language_model.*\.(q_proj|down_proj)"
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=targets)
    oracle = log_probs(PeftModel.from_pretrained(deepcopy(gemma), str(folder)).eval(), tokens)
    if spelling == "of the text model":
        edit_config(folder, {"target_modules": ["q_proj", "down_proj"]})  # the tower has none to train there
    found = served(respelled(folder, GEMMA[spelling]), gemma, tokens)
    assert (found - oracle).abs().max() < 1e-5
    assert (log_probs(gemma, tokens) - oracle).abs().max() > 1e-2


def test_an_expression_is_matched_in_the_words_of_its_file(tmp_path: Path, gemma: Any) -> None:
    """ms-swift and Unsloth write the trained model's names into `target_modules`."""
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=r".*language_model.*\.(q_proj|v_proj)")
    respelled(folder, OLD)
    edit_config(folder, {"target_modules": r"^(language_model(?=\.).*\.(q_proj|v_proj))$"})
    assert len(fitted(folder, gemma).pairs) == 6
    assert len(fitted(folder, tiny_model("gemma3")).pairs) == 6  # the text model on its own
    edit_config(folder, {"target_modules": r"^(language_model(?=\.).*\.(q_proj|k_proj|v_proj))$"})
    for model in (gemma, tiny_model("gemma3")):
        text = refused(folder, model)
        assert "layers.{0-2}.self_attn.k_proj: target_modules selects it, but the file has no tensors" in text


WITHOUT_TOWER: dict[str, Callable[[str], str]] = {
    "today's": lambda key: key,
    "before 4.52": lambda key: OLD(key).replace("model.vision_tower.", "vision_tower.vision_model."),
    "of the text model": GEMMA["of the text model"],
}


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]], ids=str)
@pytest.mark.parametrize("spelling", WITHOUT_TOWER)
def test_what_text_never_passes_is_left_out(
    spelling: str, targets: list[str] | str, tmp_path: Path, gemma: Any
) -> None:
    from copy import deepcopy

    from peft import PeftModel

    tokens = random_tokens()
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=targets)
    oracle = log_probs(PeftModel.from_pretrained(deepcopy(gemma), str(folder)).eval(), tokens)
    respelled(folder, WITHOUT_TOWER[spelling])
    assert (served(folder, gemma, tokens) - oracle).abs().max() < 1e-5
    text = tiny_model("gemma3")
    weights = {name.replace("language_model.", ""): one for name, one in gemma.state_dict().items()}
    text.load_state_dict({name: weights[name] for name in text.state_dict()})
    assert (served(folder, text, tokens) - oracle).abs().max() < 1e-5
    for model in (gemma, text):
        adapter = fitted(folder, model)
        assert not any("vision" in name for name in adapter.pairs)
        assert "adapter pirate also adapts parts for pictures or sound, such as" in str(adapter.notice)


def test_the_text_part_must_be_whole_all_the_same(tmp_path: Path, gemma: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        for key in [key for key in tensors if "language_model.layers.1." in key]:
            del tensors[key]
    wanted = "layers.1.self_attn.q_proj: target_modules selects it, but the file has no tensors for it"
    for model in (gemma, tiny_model("gemma3")):
        assert wanted in refused(folder, model)
    with edited_tensors(folder) as tensors:
        for key in [key for key in tensors if "language_model" in key]:
            del tensors[key]
    with pytest.raises(AdapterError, match="it adapts parts for pictures or sound only"):
        read_adapter(folder, "pirate")


def test_a_tower_within_the_body_is_beside_the_text_too(tmp_path: Path) -> None:
    """As Phi-4's, below `model.embed_tokens_extend`."""
    model = tiny_model()
    tower = nn.Module()
    tower.q_proj = nn.Linear(8, 8, bias=False)
    model.model.audio_embed = tower
    folder = tiny_adapter(tmp_path, base=model, targets=("q_proj",))
    assert len(fitted(folder, model).pairs) == 3


def test_what_is_left_out_is_reported(tmp_path: Path, gemma: Any) -> None:
    """Also where a persona's adapter is taken by its family name, which has a notice of its own."""
    from mpg_cli.models.experts import find_experts
    from mpg_cli.models.load.loader import load_model
    from mpg_cli.personas.adapter_place import AdapterPlace
    from mpg_cli.personas.expression import parse
    from mpg_cli.personas.registry import Registry, resolve

    loaded = load_model(str(save_model(tmp_path / "X-1B", "gemma3")), device="cpu", dtype="float32")
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=["q_proj"])
    (tmp_path / "p.yaml").write_text("name: p\nadapters: [{base: org/X-1B-GGUF, path: a}]\n")
    blend = resolve(parse("p"), Registry.load([tmp_path]))
    said: list[str] = []
    find_experts(blend, (), loaded, said.append, said.append)
    find_experts(None, ((AdapterPlace(folder), 1.0),), loaded, said.append, said.append)
    left_out = [text for text in said if "they are left out, as they do not affect text" in text]
    assert [text.split(" also adapts")[0] for text in left_out] == ["adapter p", f"adapter {folder}"]


def test_the_text_part_alone_has_no_notice(tmp_path: Path, gemma: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=["q_proj"], exclude_modules=".*vision.*")
    assert fitted(folder, gemma).notice is None
    assert len(fitted(folder, tiny_model("gemma3")).pairs) == 3


def test_weights_of_a_tower_are_no_ones_business(tmp_path: Path, gemma: Any) -> None:
    folder = tiny_adapter(
        tmp_path / "a", base=gemma, targets=["q_proj"], modules_to_save=["multi_modal_projector"]
    )
    with edited_tensors(folder) as tensors:
        (key,) = [key for key in tensors if "mm_input_projection" in key]
        tensors[key] += 1
    for model in (gemma, tiny_model("gemma3")):
        assert len(fitted(folder, model).pairs) == 3


def test_a_pattern_in_the_models_words_is_refused_where_the_file_has_others(
    tmp_path: Path, gemma: Any
) -> None:
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=r".*language_model.*q_proj")
    edit_config(folder, {"alpha_pattern": {"model.language_model.layers.1.self_attn.q_proj": 64}})
    assert max(pair.scale for pair in fitted(folder, gemma).pairs.values()) == 16
    assert "has a rank or alpha for" in refused(respelled(folder, OLD), gemma)
