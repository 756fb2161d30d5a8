"""Loading models: what comes out, and one clear error for every model that cannot run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.config.named_models import BUNDLED_FOLDER
from mpg_cli.errors import ModelError
from mpg_cli.models.load.loader import LoadedModel, load_checkpoint, load_drafter, load_model
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from tests.support.adapters import tiny_adapter
from tests.support.models import SIZES, random_tokens, save_model, tiny_model, tiny_multimodal
from tests.support.rows import AlikeRows
from tests.support.tokenizers import word_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "tiny-llama")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "tiny-llama"))


def load(path: str | Path, **options: Any) -> LoadedModel:
    return load_model(str(path), device="cpu", **options)


def refused(path: str | Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# What comes out


def test_a_folder(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(saved)
    assert loaded.id == str(saved)
    assert loaded.revision is None
    assert loaded.device.value == torch.device("cpu")
    assert (loaded.dtype.value, loaded.dtype.reason) == (torch.float32, "a small model on the CPU")
    assert loaded.notices == ()
    assert loaded.config is loaded.model.config
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.config._attn_implementation == "sdpa"
    for own, expected in zip(loaded.model.parameters(), tiny_model().parameters(), strict=True):
        assert torch.equal(own, expected)
    assert capfd.readouterr() == ("", ""), "no progress bars, no advice"


def test_an_explicit_dtype(saved: Path) -> None:
    assert load(saved, dtype="bfloat16").model.dtype is torch.bfloat16


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3", "gpt2"])
def test_other_architectures(architecture: str, tmp_path: Path) -> None:
    """Tied embeddings are no missing weights."""
    loaded = load(save_model(tmp_path / "m", architecture))
    assert loaded.model.config.model_type == {"gemma3": "gemma3_text"}.get(architecture, architecture)


def test_shards(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    tiny_model().save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    load(folder)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    assert f"{shard} is truncated or damaged" in refused(folder)
    shard.unlink()
    assert f"{shard.name} is missing" in refused(folder)


@pytest.mark.skipif(not (BUNDLED_FOLDER / "model.safetensors").is_file(), reason="not built yet")
def test_the_bundled_model() -> None:
    loaded = load("mpg-tiny")
    assert loaded.id == "mpg-tiny"
    assert loaded.tokenizer.chat_template


# Folders that cannot be served


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "config.json:\n  - model.layers.1.mlp.up_proj.weight is missing\n" in refused(folder)


def test_weights_without_a_use_are_noticed(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors") | {"model.extra.weight": torch.zeros(1)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "model.extra.weight" in load(folder).notices[0]


def test_other_shapes(folder: Path) -> None:
    edit(folder, intermediate_size=64)
    text = refused(folder)
    assert "model.layers.0.mlp.down_proj.weight is (32, 48), config.json needs (32, 64)" in text
    assert "… and 4 more" in text


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "is truncated or damaged" in refused(folder)


def test_nan_weights(folder: Path) -> None:
    model = tiny_model()
    model.lm_head.weight[0, 0] = torch.nan
    model.save_pretrained(folder)
    assert "computes NaN or infinity" in refused(folder)


def test_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "as pickle only (pytorch_model.bin)" in refused(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(folder)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in refused(folder)


def test_an_adapter_as_model(tmp_path: Path) -> None:
    text = refused(tiny_adapter(tmp_path / "pirate"))
    assert "is an adapter, not a model" in text
    assert "--adapter" in text


def test_a_file_as_model(folder: Path) -> None:
    assert "is a file" in refused(folder / "config.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a":' * 100_000])
def test_a_damaged_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json" in refused(folder)


def test_a_config_of_wrong_types(folder: Path) -> None:
    edit(folder, hidden_size="many")
    text = refused(folder)
    assert "config.json is not valid" in text
    assert "expected int" in text


def test_remote_code_is_never_run(folder: Path) -> None:
    (folder / "modeling_x.py").write_text("raise SystemExit('ran')")
    edit(
        folder,
        model_type="x",
        auto_map={"AutoConfig": "modeling_x.C", "AutoModelForCausalLM": "modeling_x.M"},
    )
    assert "needs remote code (auto_map), which is never run" in refused(folder)


def test_code_beside_a_known_model_is_left_alone(folder: Path) -> None:
    (folder / "modeling_x.py").write_text("raise SystemExit('ran')")
    edit(folder, auto_map={"AutoConfig": "modeling_x.C", "AutoModelForCausalLM": "modeling_x.M"})
    assert type(load(folder).model).__name__ == "LlamaForCausalLM"


def test_an_unknown_model_type(folder: Path) -> None:
    edit(folder, model_type="llama99")
    assert "does not support model_type 'llama99'" in refused(folder)


def test_quantised_models(folder: Path) -> None:
    edit(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "is quantised (gptq)" in refused(folder)


def test_encoder_decoders(folder: Path) -> None:
    edit(folder, model_type="t5", is_encoder_decoder=True)
    assert "is an encoder-decoder" in refused(folder)


def test_a_model_without_a_causal_head(folder: Path) -> None:
    edit(folder, model_type="clip_vision_model")
    assert "is not a causal language model" in refused(folder)


@pytest.mark.parametrize(
    "model_type", ["mamba", "mamba2", "rwkv", "qwen3_5_text", "qwen3_next", "jamba", "llama4_text"]
)
def test_models_that_cannot_be_rolled_back(folder: Path, model_type: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    CONFIG_MAPPING[model_type]().save_pretrained(folder)
    text = refused(folder)
    assert "could not be rolled back exactly" in text
    assert "choose a model" in text


@pytest.mark.parametrize("model_type", ["bloom", "mpt", "openai-gpt"])
def test_models_with_other_caches_or_positions(folder: Path, model_type: str) -> None:
    edit(folder, model_type=model_type)
    assert model_type in refused(folder)


def test_local_attention_by_place_in_the_cache(folder: Path) -> None:
    from transformers import GPTNeoConfig

    GPTNeoConfig().save_pretrained(folder)
    assert "by cache index" in refused(folder)


def test_names_that_no_folder_can_have(folder: Path) -> None:
    assert "no valid id of a model" in refused("m" * 300)
    assert "no valid id of a model" in refused("~nobody-of-that-name/model")


def test_encoders_that_load_as_causal_models(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    BertLMHeadModel(BertConfig(**sizes)).save_pretrained(tmp_path / "bert")
    word_tokenizer().save_pretrained(tmp_path / "bert")
    assert "attends to later tokens" in refused(tmp_path / "bert")


def test_no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "tokenizer cannot be loaded" in refused(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    assert "tokenizer cannot be loaded" in refused(folder)


def test_a_tokenizer_of_a_larger_model(folder: Path) -> None:
    word_tokenizer(vocabulary=97).save_pretrained(folder)
    assert "its tokenizer has token 96, its embedding ends at 95" in refused(folder)


def test_a_revision_of_a_folder(folder: Path) -> None:
    assert "--revision needs a model of the hub" in refused(folder, revision="main")


def test_devices_and_dtypes_are_checked_first() -> None:
    with pytest.raises(ModelError, match="unknown device"):
        load_model("no/where", device="tpu")
    assert "unknown dtype" in refused("no/where", dtype="int4")


# Checkpoints as experts


def test_a_checkpoint_with_the_same_tokenizer(saved: Path, tmp_path: Path) -> None:
    base = load(saved, dtype="bfloat16")
    expert = load_checkpoint(str(save_model(tmp_path / "expert", hidden_size=64)), base)
    assert expert.model.dtype is torch.bfloat16


def test_a_checkpoint_with_another_tokenizer(saved: Path, folder: Path) -> None:
    word_tokenizer(last="other").save_pretrained(folder)
    with pytest.raises(ModelError, match=r"another tokenizer than .*: token 'other' is 95 there and None"):
        load_checkpoint(str(folder), load(saved))


def test_a_drafter_with_another_tokenizer(saved: Path, folder: Path) -> None:
    word_tokenizer(last="other").save_pretrained(folder)
    with pytest.raises(
        ModelError, match=r"drafter .* has another tokenizer than .*: token 'other'"
    ) as caught:
        load_drafter(str(folder), load(saved))
    assert "smaller model of the same family" in str(caught.value.hint)


def test_a_drafter_may_pad_its_embeddings(saved: Path, tmp_path: Path) -> None:
    drafter = load_drafter(str(save_model(tmp_path / "drafter", vocab_size=100)), load(saved))
    assert drafter.model.get_output_embeddings().weight.shape[0] == 100


def test_a_checkpoint_may_pad_its_embeddings(saved: Path, tmp_path: Path) -> None:
    expert = load_checkpoint(str(save_model(tmp_path / "expert", vocab_size=100)), load(saved))
    assert expert.model.get_output_embeddings().weight.shape[0] == 100


# Models that see or hear as well


@pytest.mark.parametrize("model_type", ["mistral3", "qwen2_5_vl", "gemma3"])
def test_the_text_of_a_multimodal_model_is_served(model_type: str, tmp_path: Path) -> None:
    """Token by token with drafts that are rolled back, as transformers generates."""
    model = tiny_multimodal(model_type)
    model.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    served = load_prepared(ModelOptions(str(tmp_path), device="cpu"))
    prompt = random_tokens(1, 13)
    expected = model.generate(prompt, do_sample=False, max_new_tokens=12, eos_token_id=None)[0, 13:]
    rows = AlikeRows(served.model, ["reference"])
    rows.prefill([prompt.tolist()])
    for token in expected.tolist():
        assert int(rows.score(random_tokens(1, 3)[None]).log_probs[0, 0, 0, 0].argmax()) == token
        rows.commit([3], [[token]])


def test_a_model_that_does_not_answer_to_text_alone(tmp_path: Path) -> None:
    """The library's own message without a traceback: this model needs a language."""
    from transformers import XmodConfig, XmodForCausalLM

    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    XmodForCausalLM(XmodConfig(**sizes, is_decoder=True)).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    assert "(xmod) does not run on text alone: Input language unknown" in refused(tmp_path)
