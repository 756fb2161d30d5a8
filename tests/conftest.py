"""Every test runs with one thread a process, away from the user's configuration, personas and models."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads only get in each other's way
# huggingface_hub reads it when it is imported. Nothing is there: a test that fetches has a cache of its own.
os.environ["HF_HUB_CACHE"] = os.path.join(tempfile.gettempdir(), "mpg-tests", "no-hub-cache")
for name in ("COLUMNS", "LINES"):  # of whoever runs the tests: pytest-xdist passes on those of its terminal
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No MPG_* variables; configuration and caches of mpg in an empty folder, so that `auto` is mpg-tiny."""
    home = tmp_path_factory.mktemp("home")
    for name in [n for n in os.environ if n.startswith("MPG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    return home


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Fail a test that leaves torch with more threads: two workers with two each wait for each other."""
    import torch

    before = torch.get_num_threads()
    yield
    left = torch.get_num_threads()
    torch.set_num_threads(before)
    assert left == before, f"the test left torch with {left} threads"


@pytest.fixture(scope="session")
def _built_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.world import build

    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def world(_built_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and the personas that use them (tests/support/world.py), a copy for each file of tests."""
    return shutil.copytree(_built_world, tmp_path_factory.mktemp("world") / "world")
