"""Models with a name: where smollm2 is, and which model `auto` is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpg_cli.config.named_models import SMOLLM2_REPO, smollm2, smollm2_folder, without_auto
from mpg_cli.errors import UsageError
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.base import base_name, find_base
from tests.support.hub import snapshot, use_cache

OLD, NEW = "0b" * 20, "0a" * 20


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    return use_cache(tmp_path / "hub", monkeypatch)


def in_cache(cache: Path, commit: str, without: str = "") -> Path:
    """A copy of smollm2 in the cache, with empty files; the last one is that of `main`."""
    folder = snapshot(cache, SMOLLM2_REPO, commit)
    for name in {"config.json", "tokenizer.json", "model.safetensors"} - {without}:
        (folder / name).write_text("{}")
    return folder


def as_file(digest: str) -> Path:
    file = smollm2_folder() / f"SmolLM2-135M-Instruct.Q4_1-{digest}.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"GGUF")
    return file


def test_without_smollm2_auto_is_the_bundled_model(cache: Path) -> None:
    assert smollm2() is None
    assert without_auto("auto") == "mpg-tiny"
    found = ModelOptions().resolved()
    assert (found.name, found.revision, found.automatic) == ("mpg-tiny", None, True)
    assert found.notice is not None
    assert found.notice.endswith("for a real one: mpg models get smollm2")
    assert ModelOptions("mpg-tiny").resolved().notice is None
    assert found.resolved() == found


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_copy_does_not_count(cache: Path, name: str) -> None:
    in_cache(cache, NEW, without=name)
    assert smollm2() is None
    (smollm2_folder()).mkdir(parents=True)
    (smollm2_folder() / ".half-123.gguf.part").write_bytes(b"")
    assert ModelOptions().resolved().name == "mpg-tiny"


def test_with_smollm2_auto_is_it_and_its_revision_is_pinned(cache: Path) -> None:
    folder = in_cache(cache, NEW)
    found = ModelOptions(dtype="float32").resolved()
    assert (found.name, found.revision, found.dtype) == ("smollm2", NEW, "float32")
    assert found.notice == "using smollm2; choose another model with --model"
    assert ModelOptions("smollm2").resolved().revision == NEW
    assert ModelOptions("smollm2").resolved().notice is None
    place = smollm2(NEW)
    assert place is not None
    assert place.path == folder


def test_the_main_branch_comes_first_and_others_are_chosen_by_revision(cache: Path) -> None:
    in_cache(cache, OLD)
    in_cache(cache, "00" * 20)
    in_cache(cache, NEW)
    assert ModelOptions("smollm2").resolved().revision == NEW
    assert ModelOptions("smollm2", revision=OLD).resolved().revision == OLD


def test_the_hub_comes_before_the_file_which_its_digest_chooses(cache: Path) -> None:
    file = as_file("b179c9523d0e")
    assert ModelOptions().resolved().revision == "b179c9523d0e"
    in_cache(cache, NEW)
    assert ModelOptions().resolved().revision == NEW
    place = smollm2("b179c9523d0e")
    assert place is not None
    assert place.path == file


def test_what_is_not_here(cache: Path) -> None:
    with pytest.raises(UsageError, match="smollm2 is not on this disk") as caught:
        ModelOptions("smollm2").resolved()
    assert caught.value.hint == "get it: mpg models get smollm2"
    as_file("b179c9523d0e")
    with pytest.raises(UsageError, match=f"not here in revision {NEW}, but in b179c9523d0e"):
        ModelOptions("smollm2", revision=NEW).resolved()
    with pytest.raises(UsageError, match="--revision needs a model of the hub"):
        ModelOptions(revision="main").resolved()


def test_adapters_for_it_match_under_both_names(cache: Path) -> None:
    in_cache(cache, NEW)
    for identity in ("smollm2", SMOLLM2_REPO):
        base = find_base(identity)
        assert base.has_name("smollm2")
        assert base.has_name(SMOLLM2_REPO)
        assert base.is_of_family("unsloth/SmolLM2-135M-Instruct")
        assert base.folder is not None
        assert base.folder.name == NEW
    assert not find_base("mpg-tiny").has_name("smollm2")
    assert base_name("smollm2") == SMOLLM2_REPO


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"XDG_CACHE_HOME": "/c"},
        {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/c"},
        {"HF_HOME": "/$OTHER/hf", "OTHER": "x"},
        {"HUGGINGFACE_HUB_CACHE": "~/old", "HF_HOME": "/hf"},
        {"HF_HUB_CACHE": "~/new", "HUGGINGFACE_HUB_CACHE": "/old"},
    ],
    ids=str,
)
def test_the_cache_of_the_hub_is_that_of_its_client(environ: dict[str, str]) -> None:
    code = (
        "from huggingface_hub import constants; from mpg_cli.config.paths import hub_cache_dir; "
        "print(constants.HF_HUB_CACHE, hub_cache_dir(), sep='\\n')"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", code]
    env = {"HOME": "/home/someone", **kept, **environ}
    theirs, ours = subprocess.run(command, env=env, capture_output=True, text=True).stdout.splitlines()
    assert ours == theirs
