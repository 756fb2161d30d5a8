"""Converted GGUF files: the logits of every architecture equal those of the original and of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.errors import ModelError
from mpg_cli.models.load.gguf.architectures import ARCHITECTURES
from mpg_cli.models.load.loader import LoadedModel, load_model
from tests.support.gguf_models import TINY, tiny, write_model
from tests.support.llama_cpp import LlamaCpp
from tests.support.models import log_probs

LENGTHS = (3, 12, 40)  # of prompts; windows have 8
ROUGH = 5e-3  # llama.cpp looks GELU up in a table of 16-bit numbers
GELU = ("gemma2", "gemma3", "gpt2", "starcoder2", "falcon")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mpg" / "models" / "converted"


def prompt(seed: int = 1) -> Tensor:
    return torch.randint(0, 256, (1, 40), generator=torch.Generator().manual_seed(seed))


def load(path: Path) -> LoadedModel:
    return load_model(str(path), device="cpu", dtype="float32")


def test_every_architecture_is_compared() -> None:
    assert {made.architecture for made in TINY.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", TINY)
def test_logits_are_those_of_the_original_and_of_llama_cpp(name: str, tmp_path: Path) -> None:
    original = tiny(name)
    path = write_model(tmp_path / f"{name}.gguf", name, original)
    loaded = load(path)
    assert loaded.id == str(path)
    expected, found = log_probs(original, prompt()), log_probs(loaded.model, prompt())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    with LlamaCpp(path, context=256) as theirs:
        for length in LENGTHS:
            row = theirs.log_probs(prompt()[0, :length].tolist())
            atol = ROUGH if name in GELU else 1e-4
            torch.testing.assert_close(found[0, length - 1], row, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "Q4_1"])
def test_quantised_files_are_dequantised_exactly(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "x.gguf", "llama", tiny("llama"), kind)
    loaded = load(path)
    assert kind in loaded.dtype.reason
    assert any(kind in notice for notice in loaded.notices) == kind.startswith("Q")
    with LlamaCpp(path) as theirs:
        row = theirs.log_probs(prompt()[0].tolist())
    # llama.cpp quantises activations as well.
    found = log_probs(loaded.model, prompt())[0, -1]
    torch.testing.assert_close(found, row, rtol=0, atol=0.1 if kind.startswith("Q") else 0.02)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"llama__attention__scale": 0.5}, "llama.attention.scale = 0.5, which mpg does not know"),
    "experts": ({"llama__expert_count": 8}, "llama.expert_count = 8"),
    "no layers": ({"llama__block_count": None}, "has no llama.block_count"),
    "too many layers": ({"llama__block_count": 10**6}, "claims 1000000 layers"),
    "more layers": ({"llama__block_count": 5}, "it lacks blk.4"),
    "fewer layers": ({"llama__block_count": 3}, "it has blk.3"),
    "other width": ({"llama__feed_forward_length": 95}, "is damaged: blk.0.ffn"),
    "other heads": ({"llama__attention__head_count_kv": 1}, "is damaged: blk.0.attn_k"),
    "odd heads": ({"llama__attention__head_count": 3}, ""),
    "mean of keys": ({"llama__attention__value_length": 8}, "keys of size 16 and values of size 8"),
    "scaling": ({"llama__rope__scaling__type": "su"}, "scales rotary positions by su"),
    "text": ({"llama__embedding_length": "wide"}, "llama.embedding_length = wide"),
    "negative": ({"llama__rope__freq_base": -1.0}, "llama.rope.freq_base = -1.0"),
    "an adapter": ({"general__type": "adapter"}, "is an adapter, not a model"),
    "a projector": ({"general__type": "mmproj"}, "is a vision projector"),
    "a part": ({"split__count": 3}, "is one part of a split file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_right_is_refused(case: str, tmp_path: Path, cache: Path) -> None:
    keys, words = WRONG[case]
    path = write_model(tmp_path / "x.gguf", "llama", tiny("llama"), **keys)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert words in caught.value.message
    assert caught.value.hint
    assert [file for file in cache.glob("*") if file.is_dir()] == []


def test_other_architectures_and_parts_by_name_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "x.gguf", "llama", tiny("llama"))
    part = path.rename(tmp_path / "x-00001-of-00002.gguf")
    with pytest.raises(ModelError, match="one part of a split file"):
        load(part)
    for architecture in ("mamba", "bloom"):
        path.write_bytes(
            part.read_bytes().replace(
                b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0" + architecture.encode(), 1
            )
        )
        with pytest.raises(
            ModelError, match=f"of the architecture {architecture}; mpg reads those of llama, "
        ):
            load(path)


def test_other_factors_than_those_of_llama_31_are_refused(tmp_path: Path) -> None:
    model = tiny("llama-3.1")
    path = write_model(tmp_path / "x.gguf", "llama-3.1", model)
    assert load(path).config.rope_parameters["factor"] == 8
    model.config.rope_parameters["high_freq_factor"] = 3.0
    with pytest.raises(ModelError, match="by factors that are not those of Llama"):
        load(write_model(tmp_path / "y.gguf", "llama-3.1", model))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = tiny("llama")
    model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"blk.1.ffn_up.weight has NaN or infinity in float32"):
        load(write_model(tmp_path / "x.gguf", "llama", model))
