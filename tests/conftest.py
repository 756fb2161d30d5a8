"""Every test runs with one thread a process, away from the user's configuration and personas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads only get in each other's way
for name in ("COLUMNS", "LINES"):  # of whoever runs the tests: pytest-xdist passes on those of its terminal
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No MPG_* variables; configuration and caches of mpg in an empty folder."""
    home = tmp_path_factory.mktemp("home")
    for name in [n for n in os.environ if n.startswith("MPG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    return home
