"""The digest of a base: the same for all copies that compute the same, another one for other weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mpg_cli.personas.base import Base
from mpg_cli.personas.weight_files import model_tensors
from tests.support.models import tiny_model

Tensors = dict[str, torch.Tensor]


def digest(folder: Path) -> str | None:
    return Base(frozenset(), folder).digest


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    tiny_model("qwen3").save_pretrained(folder)  # tied embeddings
    return folder


def test_dtype_shards_and_tied_copies_change_nothing(original: Path, tmp_path: Path) -> None:
    model = tiny_model("qwen3")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    model.bfloat16().save_pretrained(tmp_path / "bfloat16")
    model.float().save_pretrained(tmp_path / "again")  # as a model loaded in bfloat16 and kept in float32
    tensors = load_file(original / "model.safetensors")
    (tmp_path / "untied").mkdir()
    untied = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(untied, tmp_path / "untied" / "model.safetensors")
    (tmp_path / "renamed").mkdir()
    renamed = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    renamed["vision_tower.encoder.layers.0.norm.weight"] = torch.ones(8)  # wrapped in a multimodal model
    save_file(renamed, tmp_path / "renamed" / "model.safetensors")
    wanted = digest(original)
    assert wanted is not None
    assert len(wanted) == 24
    for copy in ("sharded", "bfloat16", "again", "untied", "renamed"):
        assert digest(tmp_path / copy) == wanted, copy


QUERIES = "model.layers.1.self_attn.q_proj.weight"
FIRST, SECOND = "model.layers.0.", "model.layers.1."


def in_layers(names: Tensors, change: Callable[[str], str]) -> Tensors:
    return {change(name): tensor for name, tensor in names.items()}


def swapped(one: str, other: str) -> Callable[[str], str]:
    return lambda name: name.replace(one, "@").replace(other, one).replace("@", other)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t | {QUERIES: t[QUERIES] * 1.05},
        lambda t: {name: x * 3 if "norm" in name else x for name, x in t.items()},
        lambda t: in_layers(t, swapped(FIRST, SECOND)),
        lambda t: in_layers(t, swapped("k_proj", "v_proj")),
        lambda t: t | {n.replace(SECOND, "model.layers.2."): x.clone() for n, x in t.items() if SECOND in n},
    ],
    ids=["tuned", "norms", "layers", "keys and values", "deeper"],
)
def test_other_weights_have_another(
    original: Path, tmp_path: Path, change: Callable[[Tensors], Tensors]
) -> None:
    save_file(change(load_file(original / "model.safetensors")), tmp_path / "model.safetensors")
    assert digest(tmp_path) not in (None, digest(original))


def test_buffers_of_old_versions_do_not_count(original: Path, tmp_path: Path) -> None:
    buffers = {
        f"{FIRST}self_attn.rotary_emb.inv_freq": torch.ones(8),
        "h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8),
        "vision.embeddings.position_ids": torch.arange(4)[None],
    }
    save_file(load_file(original / "model.safetensors") | buffers, tmp_path / "model.safetensors")
    assert digest(tmp_path) == digest(original)


def test_float16_is_rounded_as_pytorch_does(tmp_path: Path) -> None:
    matrix = torch.randn(9, 9, generator=torch.Generator().manual_seed(0)).half()
    found = []
    for dtype in (torch.float16, torch.float32, torch.bfloat16):
        (tmp_path / str(dtype)).mkdir()
        save_file({"a": matrix.to(dtype)}, tmp_path / str(dtype) / "model.safetensors")
        found.append(digest(tmp_path / str(dtype)))
    assert len(set(found)) == 1


def test_quantised_and_missing_weights_have_none(original: Path, tmp_path: Path) -> None:
    assert digest(tmp_path) is None
    tensors = load_file(original / "model.safetensors")
    save_file(tensors | {"packed": torch.zeros(4, 4, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    assert digest(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes((original / "model.safetensors").read_bytes()[:-1])
    assert model_tensors(tmp_path) is None
    assert digest(tmp_path) is None


def test_files_of_users_hold_it_so_it_stays(tmp_path: Path) -> None:
    tensors = {"layers.0.a": torch.arange(200.0).view(10, 20), "layers.0.b": torch.arange(9.0)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert digest(tmp_path) == "84e40952b7252f289647e197"
