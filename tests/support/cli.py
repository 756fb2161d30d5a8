"""`mpg` run in this process: exit code, stdout and stderr, the request that was read, training runs."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.engine.request import Request
from mpg_cli.io.terminal import Streams

QUICK = (
    *("--epochs", "2", "--batch-size", "8", "--learning-rate", "0.02", "--rank", "4"),
    *("--heard", "0", "--device", "cpu"),
)


@dataclass
class Cli:
    """Runs `mpg` in this process."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *argv: str | Path, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Without `stdin` it is empty."""
        from mpg_cli.cli.app import main

        self._give(stdin)
        code = main([str(word) for word in argv])
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


def trained(mpg: Cli, model: Path, *argv: str | Path, name: str = "grump") -> dict[str, Any]:
    """The summary of a run that must succeed."""
    more = () if "--data" in argv else ("--data", "prefs.jsonl")
    code, out, err = mpg("train", name, "--model", model, *QUICK, "--format", "json", *more, *argv)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def refused(mpg: Cli, *argv: str | Path, code: int = 2) -> str:
    """stderr of a run that fails with this code and writes nothing."""
    before = sorted(Path().rglob("*"))
    found, out, err = mpg("train", *argv)
    assert (found, out) == (code, ""), err
    assert sorted(Path().rglob("*")) == before
    return err
