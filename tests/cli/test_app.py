"""The application: help without weight, and every way to end gives its message and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from mpg_cli import __version__
from mpg_cli.cli import app
from mpg_cli.cli.lazy_group import Lazy
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.signals import Terminated
from tests.support.forked import Mpg

ROOT = Path(__file__).parents[2]

# A command of its own that draws a long reply at once.
TALKATIVE = """
import sys
from mpg_cli.cli.app import app, main
from mpg_cli.io.terminal import Streams
from mpg_cli.render import make_renderer
from mpg_cli.render.commentary import Commentary
from tests.support.replies import reply

@app.command()
def talk(format: str = "plain", seed: bool = True):
    streams = Streams.current()
    commentary = Commentary(streams, stats=False, quiet=True, drawn=seed)
    make_renderer(format, streams, commentary).render(reply(["many words " * 500] * 100))

sys.exit(main(["talk", *sys.argv[1:]]))
"""


def python(code: str, *argv: str, shell: str = "{}") -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter; `shell` is what to do with its command line."""
    command = shell.format('"$PYTHON" -c "$CODE" "$@"')
    env = {**os.environ, "PYTHON": sys.executable, "CODE": code, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}", "bash", *argv],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("argv", [["--help"], ["--version"], [], ["generate", "--help"]])
def test_help_loads_neither_torch_nor_transformers_nor_rich(argv: list[str]) -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'rich', 'numpy'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = python(code, *argv)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout


def test_usage_errors_load_no_torch() -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main\n"
        "code = main(['generate', '-p', 'pirate', '--top-p', '2', 'x'])\n"
        "print('torch' in sys.modules, code)"
    )
    assert python(code).stdout == "False 2\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpg {__version__}\n"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([]) == 0
    out, err = capsys.readouterr()
    assert "generate" in out
    assert err == ""


def test_an_unknown_command_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["generat"]) == 2
    assert capsys.readouterr() == (
        "",
        "mpg: error: no such command 'generat'. Did you mean 'generate'?\nhint: see mpg --help\n",
    )


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that raises this."""

    def command() -> None:
        raise error

    place = SimpleNamespace(command=command)
    monkeypatch.setitem(sys.modules, "a_command_that_fails", cast(ModuleType, place))
    monkeypatch.setitem(app.COMMANDS, "fail", Lazy("a_command_that_fails:command", "Fail."))
    return app.main(["fail"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            UsageError("wrong \x1b[2Jflag", hint="do\x07 this"),
            2,
            "mpg: error: wrong [2Jflag\nhint: do this\n",
        ),
        (ModelError("no such model"), 1, "mpg: error: no such model\n"),
        (KeyboardInterrupt(), 130, ""),
        (Terminated(), 143, ""),
        (BrokenPipeError(), 0, ""),
        (
            OSError(28, "No space left on device"),
            1,
            "mpg: error: the output cannot be written: No space left",
        ),
        (
            ZeroDivisionError("by zero"),
            1,
            "mpg: internal error: ZeroDivisionError: by zero; set MPG_DEBUG=1 for the traceback\n",
        ),
        (MemoryError(), 1, "mpg: error: not enough memory\nhint: use a smaller model"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "mpg: error: not enough memory\n"),
        (OSError(12, "Cannot allocate memory"), 1, "mpg: error: not enough memory\n"),
        (ImportError("cannot allocate memory in static TLS block"), 1, "mpg: internal error: ImportError"),
        (FileNotFoundError(2, "No such file"), 1, "mpg: internal error: FileNotFoundError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_has_its_message_and_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    monkeypatch.delenv("MPG_DEBUG", raising=False)
    assert fail(monkeypatch, error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message) if message else err == ""


def test_the_traceback_is_shown_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPG_DEBUG", "1")
    assert fail(monkeypatch, ZeroDivisionError("by zero")) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("mpg: internal error: ZeroDivisionError: by zero\n")


def test_ctrl_c_stays_ignored_where_it_was() -> None:
    """As in a script's background job."""
    code = (
        "import signal; from mpg_cli.io import signals; signals.raise_on_signals()\n"
        "with signals.Graceful(print): print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    assert python(code, shell="trap '' INT; {}").stdout == "True\n"


@pytest.mark.parametrize("format_", ["plain", "json", "events"])
def test_a_closed_pipe_ends_quietly(format_: str) -> None:
    """Also when the reader goes before the first byte, and at the interpreter's last flush."""
    for reader in ("head -c 20", "true"):
        done = python(TALKATIVE, "--no-seed", "--format", format_, shell="{} | " + reader)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_that_is_not_read_is_no_error(argument: str) -> None:
    code = "import sys; from mpg_cli.__main__ import main; sys.exit(main())"
    for shell in ("{} >&-", "{} | true"):
        done = python(code, argument, shell=shell)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_stdout_that_was_never_open_ends_quietly() -> None:
    done = python(TALKATIVE, "--no-seed", shell="{} >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_message() -> None:
    done = python(TALKATIVE, "--no-seed", shell="{} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "mpg: error: the output cannot be written: No space left on device\n"


def test_a_broken_config_does_not_hide_the_help(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mpg").mkdir()
    (tmp_path / "mpg" / "config.yaml").write_text("modle: x\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert app.main(["generate", "--help"]) == 0
    assert capsys.readouterr().err == ""
    assert app.main(["generate", "hello"]) == 2
    assert "did you mean model?" in capsys.readouterr().err


@pytest.fixture(params=["/dev/full", None])
def deaf(request: pytest.FixtureRequest) -> Iterator[int]:
    """A file that takes nothing: /dev/full, or a pipe whose reader is gone."""
    if request.param is None:
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(request.param, os.O_WRONLY)
    yield write
    os.close(write)


def test_a_stderr_that_takes_nothing_does_not_cost_the_reply(deaf: int) -> None:
    done = Mpg(["generate", "-p", "pirate", "--device", "cpu", "--max-tokens", "5", "Hi"], to={2: deaf})
    assert done.wait(120) == 0
    assert done.stdout.read().strip()


def test_a_stderr_that_takes_nothing_does_not_count_at_the_last_flush(deaf: int) -> None:
    command = [sys.executable, "-m", "mpg_cli", "models", "list"]
    env = {**os.environ, "MPG_MODEL": "org/absent"}  # which is announced
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=deaf, cwd=ROOT, env=env, timeout=60)
    assert done.stdout.startswith(b"mpg-tiny\t")
    assert done.returncode == 0
