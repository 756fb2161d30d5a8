"""Fetching from a hub: a stub on 127.0.0.1, and addresses where nothing answers."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from mpg_cli.errors import AdapterError, ModelError, MpgError
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.load.checkpoint import INDEX_FILE
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.load.sources import fetch_adapter
from tests.support.adapters import tiny_adapter
from tests.support.hub import COMMIT, StubHub, running, use_endpoint
from tests.support.models import save_model, tiny_model

SOON = 5.0  # seconds within which an unreachable hub or unknown model must be reported


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "tiny-llama")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "tiny-llama"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, offline mode off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with running(StubHub()) as stub:
        use_endpoint(stub.url, monkeypatch)
        yield stub


@pytest.fixture
def nowhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use_endpoint(f"http://127.0.0.1:{port}", monkeypatch)


def load(name: str, **options: Any) -> LoadedModel:
    return load_model(name, device="cpu", **options)


def refused(name: str, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(name, **options)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def refused_soon(path: str, **options: Any) -> str:
    start = time.monotonic()
    text = refused(path, **options)
    assert time.monotonic() - start < SOON
    return text


def test_a_model_of_the_hub(hub: StubHub, saved: Path) -> None:
    hub.repositories["someone/tiny"] = saved
    loaded = load("someone/tiny")
    assert (loaded.id, loaded.revision) == ("someone/tiny", COMMIT)
    assert loaded.config._name_or_path == "someone/tiny"
    assert load("someone/tiny", revision=COMMIT).revision == COMMIT


def test_only_needed_files_are_downloaded(hub: StubHub, folder: Path, cache: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")
    (folder / "consolidated.safetensors").write_bytes(b"x")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    hub.repositories["someone/tiny"] = folder
    load("someone/tiny")
    names = {file.name for file in cache.rglob("snapshots/*/*")}
    assert names == {path.name for path in folder.iterdir()} - {
        "pytorch_model.bin",
        "consolidated.safetensors",
        "onnx",
    }


def test_a_cached_model_needs_no_hub(hub: StubHub, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["someone/tiny"] = saved
    load("someone/tiny")
    hub.requests.clear()
    assert load("someone/tiny", offline=True).revision == COMMIT
    assert load("someone/tiny", revision=COMMIT).notices == ()
    assert hub.requests == []
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    loaded = load("someone/tiny")
    assert loaded.notices == ("hub not reachable, someone/tiny is taken from the cache",)


def test_a_broken_download_is_completed(hub: StubHub, saved: Path) -> None:
    hub.repositories["someone/tiny"] = saved
    load("someone/tiny")
    for file in Path(constants.HF_HUB_CACHE).rglob("snapshots/*/model.safetensors"):
        file.unlink()
    assert load("someone/tiny", revision=COMMIT).revision == COMMIT


def test_an_unknown_model(hub: StubHub) -> None:
    text = refused_soon("someone/nothing")
    assert "unknown model someone/nothing: neither a folder here nor a repository of the hub" in text
    assert "hf auth login" in text


def test_an_unreachable_hub(nowhere: None) -> None:
    text = refused_soon("someone/tiny")
    assert "cannot reach the hub" in text
    assert "unknown" not in text


def test_a_hub_that_does_not_answer(hub: StubHub) -> None:
    hub.delay = 8.0
    assert "cannot reach the hub" in refused_soon("someone/tiny")


def test_a_hub_out_of_order(hub: StubHub) -> None:
    hub.denied["someone/tiny"] = (503, "")
    assert "cannot reach the hub" in refused_soon("someone/tiny")


def test_a_gated_model(hub: StubHub) -> None:
    hub.denied["someone/tiny"] = (403, "GatedRepo")
    text = refused_soon("someone/tiny")
    assert "is gated" in text
    assert "hf auth login" in text


def test_a_model_whose_page_is_open_and_files_are_gated(hub: StubHub, saved: Path) -> None:
    hub.repositories["someone/tiny"] = saved
    hub.denied["someone/tiny/resolve"] = (403, "GatedRepo")
    assert "is gated" in refused_soon("someone/tiny")


def test_an_unknown_revision(hub: StubHub, saved: Path) -> None:
    hub.repositories["someone/tiny"] = saved
    assert "has no revision 'v9'" in refused_soon("someone/tiny", revision="v9")


def test_pickled_weights_are_refused_before_the_download(hub: StubHub, folder: Path, cache: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.repositories["someone/tiny"] = folder
    assert "as pickle only" in refused("someone/tiny")
    assert not any(cache.rglob("*.bin"))


# Shards


NAMES = {
    "as save_pretrained names them": "model-{:05}-of-{:05}.safetensors",
    "with two endings": "model.safetensors-{:05}-of-{:05}.safetensors",
    "of a converted checkpoint": "pytorch_model-{:05}-of-{:05}.safetensors",
    "in a folder": "weights/{:05}_{:05}.safetensors",
}


def sharded(folder: Path, pattern: str) -> list[str]:
    """Put the weights of the folder into shards of these names; which they are."""
    (folder / "model.safetensors").unlink()
    tiny_model().save_pretrained(folder, max_shard_size="40KB")
    index = json.loads((folder / INDEX_FILE).read_text())
    old = sorted(set(index["weight_map"].values()))
    new = {name: pattern.format(i, len(old)) for i, name in enumerate(old, 1)}
    for name, other in new.items():
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / name).rename(folder / other)
    index["weight_map"] = {key: new[name] for key, name in index["weight_map"].items()}
    (folder / INDEX_FILE).write_text(json.dumps(index))
    return list(new.values())


@pytest.mark.parametrize("pattern", NAMES.values(), ids=list(NAMES))
def test_the_index_lists_the_shards(hub: StubHub, folder: Path, cache: Path, pattern: str) -> None:
    names = sharded(folder, pattern)
    assert len(names) > 1
    for other in ("consolidated.safetensors", "model-00009-of-00009.safetensors"):
        (folder / other).write_bytes(b"x")
    hub.repositories["someone/tiny"] = folder
    loaded = load("someone/tiny")
    for own, expected in zip(loaded.model.parameters(), tiny_model().parameters(), strict=True):
        assert torch.equal(own, expected)
    fetched = {path.relative_to(loaded_folder(cache)) for path in loaded_folder(cache).rglob("*.safetensors")}
    assert fetched == set(map(Path, names))
    assert load("someone/tiny", offline=True).revision == COMMIT
    assert load(str(folder)).revision is None


def loaded_folder(cache: Path) -> Path:
    """The one snapshot in the cache."""
    (snapshot,) = cache.glob("models--*/snapshots/*")
    return snapshot


def test_a_broken_download_of_shards_is_completed(hub: StubHub, folder: Path, cache: Path) -> None:
    names = sharded(folder, NAMES["with two endings"])
    hub.repositories["someone/tiny"] = folder
    load("someone/tiny")
    (loaded_folder(cache) / names[1]).unlink()
    assert "is not in the cache" in refused("someone/tiny", offline=True)
    load("someone/tiny")


def test_a_shard_that_the_repository_lacks(hub: StubHub, folder: Path) -> None:
    names = sharded(folder, NAMES["with two endings"])
    (folder / names[-1]).unlink()
    hub.repositories["someone/tiny"] = folder
    assert f"is incomplete: its files refer to {names[-1]}, which is missing" in refused("someone/tiny")


@pytest.mark.parametrize(
    "shard",
    [
        "../other/model.safetensors",
        "/model.safetensors",
        "a/../b.safetensors",
        "c:\\m.safetensors",
        "model.bin",
    ],
)
def test_an_index_names_safetensors_of_its_own_folder(
    shard: str, hub: StubHub, folder: Path, cache: Path
) -> None:
    sharded(folder, NAMES["with two endings"])
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    hub.repositories["someone/tiny"] = folder
    for name in ("someone/tiny", str(folder)):
        assert f"lists {shard!r}, which is not a safetensors file in the folder" in refused(name)
    assert not any(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "a/b/c", "no such name", "..", ""])
def test_names_that_cannot_be_on_the_hub(name: str, hub: StubHub) -> None:
    refused(name)
    assert hub.requests == []


def test_offline_mode_without_the_model(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "offline mode is on" in refused("someone/tiny", offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline mode is on" in refused("someone/tiny")
    assert hub.requests == []


# Adapters of the hub


def test_an_adapter_in_a_subfolder(hub: StubHub, tmp_path: Path) -> None:
    tiny_adapter(tmp_path / "repo" / "voices" / "pirate")
    hub.repositories["someone/adapters"] = tmp_path / "repo"
    path = fetch_adapter("someone/adapters", None, "voices/pirate")
    fit_adapter(read_adapter(path, "pirate"), tiny_model())
    assert fetch_adapter("someone/adapters", None, "voices/pirate", offline=True) == path
    assert "README.md" not in {file.name for file in path.iterdir()}
    with pytest.raises(AdapterError, match=r"adapter someone/adapters has no adapter_config.json") as caught:
        fetch_adapter("someone/adapters")
    assert "voices/pirate" in str(caught.value.hint)


def test_an_adapter_at_the_top(hub: StubHub, tmp_path: Path) -> None:
    hub.repositories["someone/pirate"] = tiny_adapter(tmp_path / "repo")
    assert read_adapter(fetch_adapter("someone/pirate", COMMIT), "pirate").pairs


def test_a_pickled_adapter(hub: StubHub, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "repo")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    hub.repositories["someone/pirate"] = folder
    with pytest.raises(AdapterError, match="only pickled weights"):
        fetch_adapter("someone/pirate")


def test_an_unknown_adapter(hub: StubHub) -> None:
    with pytest.raises(MpgError, match="unknown adapter someone/pirate"):
        fetch_adapter("someone/pirate")
