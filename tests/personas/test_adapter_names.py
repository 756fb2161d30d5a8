"""Spellings of keys that adapters in the field have: each means the module that its trainer meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.run.fold import fold
from mpg_cli.personas.adapter_names import Names, parse_key
from tests.support.adapters import edit_config, edited_tensors, tiny_adapter
from tests.support.models import (
    ALTERNATING,
    SIZES,
    WINDOW,
    log_probs,
    random_tokens,
    save_model,
    tiny_config,
    tiny_model,
)

PEFT = "base_model.model."
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model()


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


def respelled(folder: Path, spell: Callable[[str], str]) -> Path:
    """The adapter with other keys."""
    with edited_tensors(folder) as tensors:
        renamed = {spell(key): tensor for key, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)
    return folder


def fitted(folder: Path, model: nn.Module) -> Adapter:
    return fit_adapter(read_adapter(folder, "pirate"), model)


def refused(folder: Path, model: nn.Module) -> str:
    with pytest.raises(AdapterError) as caught:
        fitted(folder, model)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def served(folder: Path, model: nn.Module, tokens: Tensor) -> Tensor:
    return log_probs(fold(model, [(fitted(folder, model), 1.0)]), tokens)


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda key: key.replace(old, new, 1)


LLAMA = {
    "the adapter's name": swap(".weight", ".default.weight"),
    "another name": lambda key: key.replace(".weight", ".pirate.weight"),
    "loralib's": lambda key: key.removesuffix(".weight"),
    "loralib's with a name": lambda key: key.replace(".weight", ".default"),
    "no prefix": swap(PEFT, ""),
    "trained as AutoModel": swap(PEFT + "model.", PEFT),
    "AutoModel, no prefix": swap(PEFT + "model.", ""),
    "PEFT in PEFT": swap(PEFT, PEFT + PEFT),
    "base_model alone": swap(PEFT, "base_model."),
    "torch.compile around": lambda key: f"_orig_mod.{key}",
    "torch.compile within": swap(PEFT, PEFT + "_orig_mod."),
    "torch.compile a layer": swap(".self_attn.", "._orig_mod.self_attn."),
    "DDP": lambda key: f"module.{key}",
    "DDP within": swap(PEFT, PEFT + "module."),
    "FSDP": lambda key: key.replace("layers.1.", "layers.1._fsdp_wrapped_module."),
    "checkpointed": lambda key: key.replace("self_attn.", "_checkpoint_wrapped_module.self_attn."),
    "multimodal": swap(PEFT + "model.", PEFT + "model.language_model."),
    "multimodal before 4.52": swap(PEFT + "model.", PEFT + "language_model.model."),
    "InternVL": swap(PEFT + "model.", PEFT + "llm.model."),
    "TRL with a value head": swap(PEFT, "pretrained_model." + PEFT),
}


@pytest.mark.parametrize("spelling", LLAMA)
def test_every_spelling_means_the_same_modules(spelling: str, tmp_path: Path, llama: Any) -> None:
    plain = fitted(
        tiny_adapter(tmp_path / "a", rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\..*": 3}), llama
    )
    found = fitted(
        respelled(
            tiny_adapter(tmp_path / "b", rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.1\..*": 3}),
            LLAMA[spelling],
        ),
        llama,
    )
    assert found.pairs.keys() == plain.pairs.keys()
    for name, pair in plain.pairs.items():
        assert torch.equal(found.pairs[name].a, pair.a)
        assert torch.equal(found.pairs[name].b, pair.b)
        assert found.pairs[name].scale == pair.scale


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_a_body_of_another_name_is_a_wrapper_too(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    plain = fitted(tiny_adapter(tmp_path / "a", architecture), model).pairs.keys()
    body = f"{PEFT}{model.base_model_prefix}."
    assert fitted(respelled(tmp_path / "a", swap(body, PEFT)), model).pairs.keys() == plain


def test_an_adapter_trained_on_the_body_alone_is_pefts(tmp_path: Path) -> None:
    """AutoModel has no head: task type FEATURE_EXTRACTION, names without `model.`"""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModel

    tokens = random_tokens()
    body = AutoModel.from_config(tiny_config("llama"))
    folder = tiny_adapter(tmp_path / "a", base=body, task_type="FEATURE_EXTRACTION")
    assert "base_model.model.layers.0.self_attn.q_proj.lora_A.weight" in load_file(
        folder / "adapter_model.safetensors"
    )
    oracle = tiny_model()
    oracle.model = PeftModel.from_pretrained(oracle.model, str(folder)).merge_and_unload()
    assert (served(folder, tiny_model(), tokens) - log_probs(oracle, tokens)).abs().max() < 1e-5


OLD = swap(PEFT + "model.language_model.", PEFT + "language_model.model.")
GEMMA: dict[str, Callable[[str], str]] = {
    "today's": lambda key: key,
    "before 4.52": OLD,
    "of the text model": swap(PEFT + "model.language_model.", PEFT + "model."),
    "no prefix": swap(PEFT, ""),
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


def test_an_output_layer_called_decoder_is_not_the_body(tmp_path: Path) -> None:
    """Of ModernBERT's decoder `get_decoder` gives the output layer: no layer would have to be in the file."""
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    ids = {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1}
    config = ModernBertDecoderConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, vocab_size=96, **ids
    )
    model = ModernBertDecoderForCausalLM(config).eval().requires_grad_(False)
    folder = tiny_adapter(tmp_path, base=model, targets=("q_proj", "Wi", "Wo"))
    assert len(fitted(folder, model).pairs) == 12
    with edited_tensors(folder) as tensors:
        for key in [key for key in tensors if ".layers.2." in key]:
            del tensors[key]
    assert "layers.2.attn.q_proj: target_modules selects it, but the file has no tensors" in refused(
        folder, model
    )


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


def test_an_adapter_may_be_called_after_pictures(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    respelled(folder, lambda key: key.replace(".weight", ".image_critic.weight"))
    assert len(fitted(folder, llama).pairs) == 3


NAME = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern, spell",
    [
        (NAME, lambda key: key),
        (r"model\.layers\.1\.self_attn\.q_proj", lambda key: key),
        (f"_orig_mod.{NAME}", swap(PEFT, PEFT + "_orig_mod.")),
        (rf"_orig_mod\.{NAME}", swap(PEFT, PEFT + "_orig_mod.")),
        (f"module.{NAME}", swap(PEFT, PEFT + "module.")),
        (NAME.replace(".self", "._fsdp_wrapped_module.self"), lambda key: key),
    ],
)
def test_patterns_lose_what_frameworks_put_around_modules(
    pattern: str, spell: Callable[[str], str], tmp_path: Path, llama: Any
) -> None:
    folder = respelled(tiny_adapter(tmp_path / "a", targets=["q_proj"], r=4, lora_alpha=8), spell)
    edit_config(folder, {"alpha_pattern": {pattern: 64}})
    scales = {name: pair.scale for name, pair in fitted(folder, llama).pairs.items()}
    assert scales == {NAME.replace("1", str(layer)): 16 if layer == 1 else 2 for layer in range(3)}


@pytest.mark.parametrize("field", ["alpha_pattern", "rank_pattern"])
@pytest.mark.parametrize("pattern", [r"model.language_model.layers.1.self_attn.q_proj", "attention.wq"])
def test_a_pattern_that_lost_its_module_is_refused(
    pattern: str, field: str, tmp_path: Path, llama: Any
) -> None:
    """A converter that renames the keys alone leaves the configuration with the old names."""
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    edit_config(folder, {field: {pattern: 4}})
    text = refused(folder, llama)
    assert f"has a rank or alpha for '{pattern}', but the file has no such module" in text
    assert "spell the pattern like its module in adapter_model.safetensors" in text


def test_a_pattern_in_the_models_words_is_refused_where_the_file_has_others(
    tmp_path: Path, gemma: Any
) -> None:
    folder = tiny_adapter(tmp_path / "a", base=gemma, targets=r".*language_model.*q_proj")
    edit_config(folder, {"alpha_pattern": {"model.language_model.layers.1.self_attn.q_proj": 64}})
    assert max(pair.scale for pair in fitted(folder, gemma).pairs.values()) == 16
    assert "has a rank or alpha for" in refused(respelled(folder, OLD), gemma)


@pytest.mark.parametrize("pattern", ["k_proj", r"layers\.2\.mlp.*", "vision_tower.*q_proj"])
def test_a_pattern_for_modules_that_are_not_adapted_changes_nothing(
    pattern: str, tmp_path: Path, llama: Any
) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    edit_config(folder, {"rank_pattern": {pattern: 2}})
    assert {pair.scale for pair in fitted(folder, llama).pairs.values()} == {2}


def test_a_name_that_two_modules_could_have_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.language_model = tiny_model().model, tiny_model().model

    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    text = refused(respelled(folder, swap(PEFT + "model.", "llm.")), Two())
    assert "can be model.layers.0.self_attn.q_proj or language_model.layers.0.self_attn.q_proj" in text


def test_one_module_under_two_names_is_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        for key, tensor in [*tensors.items()]:
            tensors[key.replace(PEFT + "model.", PEFT + "language_model.model.")] = tensor.clone()
    assert "the file has tensors for it under another name as well" in refused(folder, llama)


def test_two_adapters_in_a_file_are_refused(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj", "v_proj"])
    respelled(folder, lambda key: key.replace(".weight", ".one.weight" if "q_proj" in key else ".weight"))
    assert "holds several adapters: 'one', an unnamed one" in refused(folder, llama)
    with edited_tensors(folder) as tensors:
        for key, tensor in [*tensors.items()]:
            tensors[key.replace(".one.", ".two.")] = tensor.clone()
    text = refused(folder, llama)
    assert "the file has a second lora_A of model.layers.0.self_attn.q_proj" in text


@pytest.mark.parametrize(
    "key, words",
    [
        ("lora_unet_mid_block_attn_to_q.lora_down.weight", "for image models (kohya, diffusers)"),
        ("text_model.encoder.layers.0.self_attn.q_proj.lora.up.weight", "for image models"),
        ("model.layers.0.self_attn.q_proj.lora_a", "layout of MLX"),
        ("model.layers.0.self_attn.q_proj.lora_B.bias", "unknown tensor"),
        ("model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight", "unknown tensor"),
    ],
)
def test_tensors_of_other_kinds_are_distinguished(key: str, words: str, tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        tensors[key] = torch.zeros(4, 4)
    assert words in refused(folder, llama)


def test_an_empty_tensor_is_reported_with_its_origin(tmp_path: Path, llama: Any) -> None:
    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"])
    with edited_tensors(folder) as tensors:
        for key in tensors:
            tensors[key] = torch.zeros(0)
    assert "is empty; save the adapter again with its weights gathered" in refused(folder, llama)


@pytest.mark.parametrize(
    "key, name",
    [
        (PEFT + "lm_head.base_layer.weight", "lm_head.weight"),
        (PEFT + "lm_head.modules_to_save.default.weight", "lm_head.weight"),
        (PEFT + "lm_head.modules_to_save.weight", "lm_head.weight"),
        (PEFT + "model.embed_tokens.original_module.weight", "model.embed_tokens.weight"),
        (PEFT + "model.layers.0.self_attn.q_proj.base_layer.bias", "model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_whole_weights_are_called_as_the_model_calls_them(key: str, name: str) -> None:
    assert parse_key(key).name == name


def test_the_last_part_of_a_name_is_never_a_wrapper() -> None:
    names = Names(["model", "model.layers.0.mlp", "lm_head", ""])
    assert names.split("model") == ("", "model")
    assert names.split("base_model.model.lm_head") == ("base_model.model.", "lm_head")
    assert names.find("model.model.layers.0.mlp") == ["model.layers.0.mlp"]
    assert names.find("layers.0") == []


def test_a_copy_whose_name_two_weights_could_have_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.language_model = tiny_model().model, tiny_model().model

    folder = tiny_adapter(tmp_path / "a", targets=["q_proj"], modules_to_save=["norm"])
    wanted = "norm.weight: can be model.norm.weight or language_model.norm.weight of the model"
    assert wanted in refused(respelled(folder, swap(PEFT + "model.", "llm.")), Two())
