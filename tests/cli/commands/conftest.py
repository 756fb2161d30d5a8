"""`mpg` in this process: in an empty folder, with data for training, and with the tiny models of a world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli

PERSONAS = """
name: pirate
prompt: You are an old sea captain.
---
name: poet
prompt: You write in verse.
---
name: both
parts: pirate:0.5 + poet:0.5
"""


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` in an empty folder with three personas and no configuration."""
    for name in ("MPG_PERSONA_PATH", "MPG_DEBUG", "MPG_MODEL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work" / "personas").mkdir(parents=True)
    (tmp_path / "work" / "personas" / "crew.yaml").write_text(PERSONAS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "work")
    return Cli(capsys, monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model on disk; torch loads here."""
    from tests.support.models import save_chat_model
    from tests.support.preferences import quick_collections

    with quick_collections():
        yield save_chat_model(tmp_path_factory.mktemp("models") / "tiny-one")


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` in an empty folder with data files; code, stdout and stderr."""
    from tests.support.files import written
    from tests.support.preferences import preferences, responses

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "prefs.jsonl", preferences())
    written(tmp_path / "plain.jsonl", responses())

    return Cli(capsys, monkeypatch)


@pytest.fixture
def in_world(world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` with the model and personas of the world."""
    monkeypatch.setenv("MPG_MODEL", str(world / "base"))
    monkeypatch.setenv("MPG_PERSONA_DIR", str(world))
    monkeypatch.setenv("MPG_DEVICE", "cpu")
    return Cli(capsys, monkeypatch)
