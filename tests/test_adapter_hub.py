"""`--adapter OWNER/NAME` against a stub of the hub: the command, the library, offline, and refusals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

import mpg_cli
from mpg_cli.config.paths import DATA
from mpg_cli.errors import AdapterError
from tests.support.gguf_models import write_lora
from tests.support.hub import COMMIT, StubHub, running, use_endpoint

OURS = Path(__file__).parents[1] / "personas" / "adapters" / "mpg-tiny" / "pirate"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """someone/pirate has the bundled adapter at the top, someone/lib in a folder `voices/pirate`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OURS, tmp_path / "lib" / "voices" / "pirate")
    stub = StubHub({"someone/pirate": OURS, "someone/lib": tmp_path / "lib"})
    with running(stub):
        use_endpoint(stub.url, monkeypatch)
        yield stub


def reply(adapter: str) -> str:
    with mpg_cli.load(None, model="mpg-tiny", adapters=[adapter], device="cpu") as speaker:
        return speaker.reply("How do I make tea?", seed=3).text


def refused(adapter: str) -> str:
    with pytest.raises(AdapterError) as caught:
        mpg_cli.load(None, model="mpg-tiny", adapters=[adapter], device="cpu")
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def test_a_repository_works_like_its_folder(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = reply(f"{OURS}:0.8")
    for text in ("someone/pirate:0.8", f"someone/lib/voices/pirate@{COMMIT}:0.8"):
        assert reply(text) == wanted
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert reply("someone/pirate:0.8") == wanted
    assert hub.requests == []


def test_the_command_takes_one(hub: StubHub, tmp_path: Path) -> None:
    home = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [
        "generate",
        "--model",
        "mpg-tiny",
        "--seed",
        "3",
        "--max-tokens",
        "8",
        "--format",
        "json",
        "Hi",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mpg_cli", *command, "--adapter", "someone/pirate:0.5"],
        env=os.environ | home, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"experts": [{"name": "pirate", "kind": "adapter", "weight": 0.5}]' in done.stdout


def test_the_cache_lists_its_content(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpg_cli.models.load.sources import fetch_adapter

    fetch_adapter("someone/lib", None, "voices/pirate")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for text in ("someone/lib", "someone/lib/voices/pirat"):
        said = refused(text)
        assert f"adapter {text} is not in the cache, and offline mode is on" in said
        assert "hint: the cache has other adapters of this repository: look in voices/pirate" in said
    said = refused("someone/lib/voices/pirate@v9")
    assert "adapter someone/lib/voices/pirate@v9 is not in the cache" in said
    assert "fetch it once with offline mode (HF_HUB_OFFLINE) off" in said


def test_repositories_without_an_adapter(hub: StubHub, tmp_path: Path) -> None:
    assert "unknown adapter someone/pirat: neither a folder here nor a repository" in refused("someone/pirat")
    assert "has no revision 'v9'" in refused("someone/pirate@v9")
    text = refused("someone/lib")
    assert "adapter someone/lib has no adapter_config.json" in text
    assert "subfolders have adapters: voices/pirate" in text
    text = refused("someone/lib/voices/pirat")
    assert "adapter someone/lib/voices/pirat: there is no such folder" in text
    assert "look in voices/pirate" in text
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "lib" / name).write_bytes(b"GGUF")
    assert "adapter someone/lib has 2 GGUF files (a.gguf, b.gguf)" in refused("someone/lib")
    text = refused("someone/lib:c.gguf")
    assert "adapter someone/lib:c.gguf: there is no such file" in text
    assert "look in voices/pirate, a.gguf, b.gguf" in text
    assert "is truncated" in refused("someone/lib:a.gguf")


def test_a_file_in_gguf_works_like_the_folder_that_it_was_made_of(
    hub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(DATA / "mpg-tiny")
    (tmp_path / "one").mkdir()
    for file in (tmp_path / "lib" / "pirate.gguf", tmp_path / "one" / "pirate.gguf"):
        write_lora(file, OURS, model)
    hub.repositories["someone/one"] = tmp_path / "one"
    wanted = reply(f"{OURS}:0.8")
    for _ in range(2):  # the second time offline
        for text in ("someone/lib:pirate.gguf:0.8", "someone/one:0.8", f"{tmp_path}/one:0.8"):
            assert reply(text) == wanted
        hub.requests.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.requests == []


def test_pickles_of_the_hub_are_not_fetched(hub: StubHub, tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "voices" / "pirate"
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    text = refused("someone/lib/voices/pirate")
    assert "has only pickled weights (adapter_model.bin), which can run code when loaded" in text
    assert "hf download OWNER/NAME --local-dir FOLDER" in text
    assert not any("adapter_model.bin" in request for request in hub.requests)
