"""`mpg` in this process, in an empty folder: with the bundled model, and with a tiny one for training."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.engine.request import Request
from mpg_cli.io.terminal import Streams
from tests.cli.commands.train_runs import Mpg

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


@dataclass
class Cli:
    """Runs `mpg` in this process."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *argv: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Without `stdin` it is empty."""
        from mpg_cli.cli.app import main

        self._give(stdin)
        code = main(list(argv))
        out, err = self.capsys.readouterr()
        return code, out, err

    def request(self, *argv: str, stdin: bytes | None = None) -> Request:
        """What `mpg generate` with these arguments, the environment and the config file asks for."""
        import typer

        from mpg_cli.cli import option_table
        from mpg_cli.cli.app import app
        from mpg_cli.cli.requests import RequestOptions, read_request
        from mpg_cli.options.option import build

        self._give(stdin)
        command: Any = typer.main.get_command(app)
        line = ["generate", *argv]
        defaults = option_table.sources().defaults(command, line)
        with command.make_context("mpg", line, default_map=defaults.by_command) as context:
            generate = command.commands["generate"]
            with generate.make_context("generate", list(argv), parent=context) as own:
                asked = build(RequestOptions, own.params)
                return read_request(own, asked, Streams.current())

    def refused(self, *argv: str, stdin: bytes | None = None) -> str:
        """stderr of a `mpg generate` that is wrong usage; stdout is empty."""
        code, out, err = self("generate", *argv, stdin=stdin)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("mpg: error: ")
        return err

    def _give(self, stdin: bytes | None) -> None:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b""), encoding="utf-8"))


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
    from tests.training.jobs import quick_collections, save_chat_model

    with quick_collections():
        yield save_chat_model(tmp_path_factory.mktemp("models") / "tiny-one")


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mpg:
    """`mpg` in an empty folder with data files; code, stdout and stderr."""
    from tests.training.jobs import preferences, responses, written

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "prefs.jsonl", preferences())
    written(tmp_path / "plain.jsonl", responses())

    def run(*argv: str | Path) -> tuple[int, str, str]:
        from mpg_cli.cli.app import main

        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return run
