"""A command line without a model, whose session is a fake that answers at once, and one with a tiny model."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.engine.events import Event, Notice
from mpg_cli.engine.request import Request
from tests.cli.commands.train_runs import Mpg
from tests.render.replies import SPEC, reply

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


class FakeSession:
    """Remembers the request and replies with fixed words."""

    requests: list[Request]
    notices: tuple[Notice, ...] = ()

    @classmethod
    def open(cls, request: Request, report: Callable[[str], None]) -> FakeSession:
        report("loading")
        cls.requests.append(request)
        return cls()

    def stop(self, reason: str) -> None:
        raise AssertionError(reason)

    def describe(self, request: Request) -> dict[str, object]:
        return {
            "model": request.model.name,
            "max_tokens": 9,
            "rows": [{"row": "reference", "weight": None}, {"row": "pirate", "weight": 1.0}],
            "memory": {"weights_bytes": 3_000_000},
            "seed": None,
        }

    def replies(self, request: Request) -> Iterator[Event]:
        yield Notice("the seed is drawn")
        spec = replace(SPEC, seed=request.seed or 42)
        for k in range(request.samples):
            yield from reply(["Aye", " aye"], sequence=k, spec=spec)


@dataclass
class Cli:
    """Runs `mpg` in this process."""

    session: type[FakeSession]
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *argv: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Without `stdin` it is empty."""
        import io

        from mpg_cli.cli.app import main

        source = io.TextIOWrapper(io.BytesIO(stdin or b""), encoding="utf-8")
        self.monkeypatch.setattr(sys, "stdin", source)
        code = main(list(argv))
        out, err = self.capsys.readouterr()
        return code, out, err

    def request(self, *argv: str, stdin: bytes | None = None) -> Request:
        """What `mpg generate` with these arguments asks of the session."""
        code, _, err = self("generate", *argv, stdin=stdin)
        assert code == 0, err
        return self.session.requests[-1]

    def refused(self, *argv: str, stdin: bytes | None = None) -> str:
        """stderr of a `mpg generate` that is wrong usage; stdout is empty and nothing was loaded."""
        before = len(self.session.requests)
        code, out, err = self("generate", *argv, stdin=stdin)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("mpg: error: ")
        assert len(self.session.requests) == before
        return err


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` in an empty folder with three personas and no configuration."""
    for name in ("MPG_PERSONA_PATH", "MPG_DEBUG", "MPG_MODEL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work" / "personas").mkdir(parents=True)
    (tmp_path / "work" / "personas" / "crew.yaml").write_text(PERSONAS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "work")
    session = type("Session", (FakeSession,), {"requests": []})
    module: Any = types.ModuleType("mpg_cli.engine.session")
    module.Session = session
    monkeypatch.setitem(sys.modules, "mpg_cli.engine.session", module)
    return Cli(session, capsys, monkeypatch)


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
