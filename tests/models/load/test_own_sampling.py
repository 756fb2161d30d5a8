"""What a model says about its own sampling: the file, the table, GGUF metadata."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.config.named_models import BUNDLED_FOLDER
from mpg_cli.errors import ModelError
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.load.own_sampling import OwnSampling, from_metadata, own_sampling
from mpg_cli.sampling.params import Sampling, SamplingLaw


def of(tmp_path: Path, name: str = "maker/some-model", **says: Any) -> OwnSampling:
    (tmp_path / "generation_config.json").write_text(json.dumps(says))
    return own_sampling(tmp_path, (name,))


def test_only_what_the_file_says_holds(tmp_path: Path) -> None:
    own = of(tmp_path, temperature=0.6, top_k=20, top_p=0.95, eos_token_id=2, max_new_tokens=7)
    assert own.values == Sampling(temperature=0.6, top_k=20, top_p=0.95)
    assert own.notices == ()
    law = Sampling(top_k=0, max_tokens=9).over(own.values)
    assert law == SamplingLaw(max_tokens=9, temperature=0.6, top_p=0.95)
    assert own.origins(Sampling(top_k=0), {"top_k": "environment"}) == {
        "temperature": "generation_config.json",
        "top_k": "environment",
        "top_p": "generation_config.json",
        "min_p": "default",
        "expert_min_p": "default",
        "repetition_penalty": "default",
    }


def test_a_folder_without_the_file_says_nothing(tmp_path: Path) -> None:
    own = own_sampling(tmp_path, ("maker/some-model",))
    assert own == OwnSampling()
    assert Sampling().over(own.values) == SamplingLaw()


@pytest.mark.parametrize(
    ("says", "law"),
    [
        ({"temperature": 1, "repetition_penalty": 1.05}, {"repetition_penalty": 1.05}),
        ({"top_k": 50.0, "min_p": None}, {"top_k": 50}),
        ({"top_k": -1, "do_sample": True}, {}),  # vLLM's "off"
        ({"do_sample": None, "temperature": 0.7}, {"temperature": 0.7}),
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}),  # transformers ignores it too
    ],
)
def test_usual_files(tmp_path: Path, says: dict[str, Any], law: dict[str, Any]) -> None:
    assert Sampling().over(of(tmp_path, **says).values) == SamplingLaw(**law)


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ({"do_sample": False}, "do_sample: false, so"),
        ({"do_sample": False, "temperature": 0}, "do_sample: false, so"),
        ({"temperature": 0}, "temperature: 0, so"),
        ({"do_sample": True, "temperature": 0.0}, "temperature: 0, so"),
    ],
)
def test_greedy_decoding_is_noticed(tmp_path: Path, says: dict[str, Any], shown: str) -> None:
    own = of(tmp_path, **says)
    [notice] = own.notices
    assert f"generation_config.json of maker/some-model says {shown} without --temperature" in notice
    assert own.values == Sampling(temperature=0.0)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("temperature", -1, "temperature -1 must be 0 or more"),
        ("temperature", "hot", "temperature must be a number, not 'hot'"),
        ("temperature", True, "temperature must be a number"),
        ("temperature", float("nan"), "temperature nan must be"),
        ("top_k", 2.5, "top_k must be a whole number, not 2.5"),
        ("top_k", [20], "top_k must be a whole number"),
        ("top_p", 7, "top_p 7 must be above 0 and at most 1"),
        ("top_p", 0, "top_p 0 must be above 0"),
        ("repetition_penalty", "\x1b[31m", "repetition_penalty must be a number"),
        ("do_sample", "no", "do_sample must be true or false"),
        ("eos_token_id", "2", "eos_token_id must be a token id or a list of them"),
        ("eos_token_id", [[2]], "eos_token_id must be a token id or a list of them"),
        ("eos_token_id", [2, {}], "eos_token_id must be a token id or a list of them"),
    ],
)
def test_an_invalid_value_is_left_out(tmp_path: Path, key: str, value: Any, why: str) -> None:
    own = of(tmp_path, **{"min_p": 0.2, key: value})
    assert own.values == Sampling(min_p=0.2)
    [notice] = own.notices
    assert "generation_config.json of maker/some-model" in notice
    assert why in notice
    assert notice.isprintable()


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\x00"])
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"maker/some-model: .*generation_config\.json"):
        own_sampling(tmp_path, ("maker/some-model",))


@pytest.mark.parametrize(
    "name",
    [
        *("HuggingFaceTB/SmolLM2-135M-Instruct", "unsloth/SmolLM2-360M-Instruct-GGUF", "smollm2"),
        *("/models/SmolLM2-135M-Instruct.Q4_1.gguf", "Smollm2 135M 8k Lc100K Mix1 Ep2"),
    ],
)
def test_a_measured_family_has_values_of_its_own_unless_its_file_speaks(tmp_path: Path, name: str) -> None:
    own = of(tmp_path, name, eos_token_id=2)
    assert own.values.min_p
    assert own.values.expert_min_p
    assert set(own.origins(Sampling(), {}).values()) == {"table", "default"}
    assert of(tmp_path, name, top_p=0.9).values == Sampling(top_p=0.9)


@pytest.mark.parametrize(
    "name", ["maker/SmolLM2x", "notsmollm2", "smollm2/another", "HuggingFaceTB/SmolLM3-3B"]
)
def test_other_families_have_none(tmp_path: Path, name: str) -> None:
    assert of(tmp_path, name) == OwnSampling()


def test_gguf_metadata_as_the_file_would_say_it() -> None:
    metadata = {
        "general.architecture": "llama",
        "general.sampling.temp": 0.6,
        "general.sampling.top_k": 20,
        "general.sampling.penalty_repeat": 1.1,
        "general.sampling.mirostat": 0,
    }
    assert from_metadata(metadata) == {"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.1}


def test_a_loaded_model_says_it_and_the_bundled_one_asks_for_min_p(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "tiny"))
    assert load_model(str(folder), device="cpu").own == OwnSampling(
        Sampling(min_p=0.1), "generation_config.json"
    )
    (folder / "generation_config.json").unlink()
    assert load_model(str(folder), device="cpu").own.values == Sampling()


@pytest.mark.parametrize("ends", ["1", [[1]], {"id": 1}, [1, "x"], -1, True, 10**12])
def test_odd_end_tokens_do_not_keep_a_model_from_loading(tmp_path: Path, ends: Any) -> None:
    folder = Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "tiny"))
    known = load_model(str(folder), device="cpu")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    loaded = load_model(str(folder), device="cpu")
    assert loaded.end_tokens >= known.end_tokens  # those of the configuration and the tokenizer
    assert loaded.vocabulary == known.vocabulary


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000])
def test_a_file_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "tiny"))
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        load_model(str(folder), device="cpu")
