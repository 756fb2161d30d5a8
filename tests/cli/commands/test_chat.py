"""`mpg chat` from a pipe and on a real pseudo-terminal, on a tiny model."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.steps import after_passes
from tests.support.world import set_context

ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def chat(world: Path, in_world: Cli) -> Run:
    """Pipes lines into `mpg chat`; exit code, stdout, stderr."""
    set_context(world, 6000)

    def run(lines: str | bytes, *argv: str) -> tuple[int, str, str]:
        raw = lines.encode() if isinstance(lines, str) else lines
        return in_world("chat", "--max-tokens", "6", *argv, stdin=raw)

    return run


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_each_line_of_a_pipe_is_a_turn_and_stdout_has_the_replies(chat: Run) -> None:
    code, out, err = chat("Hello\n\nAnd \\\nthen?\n/stats\n", "-p", "bold", "--format", "json", "--seed", "5")
    assert code == 0, err
    assert [reply["sequence"] for reply in objects(out)] == ["turn-1", "turn-2"]
    assert "exchanges    2" in err
    assert re.search(r"all prompts +\d+ tokens over all rows, \d+ computed, \d+ cached", err)
    code, plain, err = chat('Hello\n//\n"""\nmore\nlines"""\n', "-p", "bold", "--seed", "5")
    assert code == 0, err
    assert plain.startswith(objects(out)[0]["text"])
    assert ">" not in err
    assert "seed 5" in err


def test_commands_change_the_blend_and_the_chat(chat: Run) -> None:
    lines = [
        "Hello",
        "/persona bold + terse:0.5",
        "And now?",
        "/weight BOLD 0.25",
        "/seed 9",
        "/retry",
        "/system Be brief.",
        "Again",
        "/explain",
        "/undo",
        "/persona",
        "/exit",
        "never said",
    ]
    code, out, err = chat("\n".join(lines), "-p", "bold", "--format", "json", "--seed", "5")
    assert code == 0, err
    turns = [(r["persona"], r["seed"], r["sequence"]) for r in objects(out)]
    assert turns == [
        ("bold", 5, "turn-1"),
        ("bold+terse:0.5", 5, "turn-2"),
        ("bold:0.25+terse:0.5", 9, "turn-2-retry-1"),
        ("bold:0.25+terse:0.5", 9, "turn-3"),
    ]
    assert re.search(r"\[a \w+ [\d.]+\]", err)  # the legend of the explanation
    assert "removed: Again" in err
    assert "bold:0.25+terse:0.5: terse 0.5 (prompt), bold 0.25 (adapter)" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/wieght bold 1", "unknown command /wieght; did you mean /weight?"),
        ("/nonsense", "see /help"),
        ("/persona boldd", "unknown persona 'boldd'; did you mean bold"),
        ("/persona bold++", "a persona is missing"),
        ("/weight bold", "/weight needs a name and a weight"),
        ("/weight bold x", "the weight of bold cannot start with 'x'"),
        ("/weight terse 1", "add it with /persona bold+terse"),
        ("/weight bolt 1", "did you mean bold?"),
        ("/weight bold+calm 1", "/weight takes one persona at a time"),
        ("/weight bold 0", "every weight is zero"),
        ("/weight bold 11", "beyond ±10"),
        ("/persona calm", "--drafter 'persona:bold' is not in the blend"),
        ("/seed -1", "/seed takes a whole number"),
        ("/seed 99999999999999999999999999", "between 0 and 2^64 - 1"),
        ("/drop x", "/drop takes a whole number"),
        ("/save", "/save needs a file"),
        ("/save no/such/folder/chat.json", "cannot be written"),
        ("/retry", "the chat has no exchange yet"),
        ("/undo", "the chat has no exchange yet"),
        ("/explain", "no complete reply to explain"),
        ("/clear now", "/clear takes no argument"),
        ("x" * 7000, "the chat is full"),
    ],
)
def test_errors_are_reported_and_the_chat_continues(chat: Run, line: str, message: str) -> None:
    code, out, err = chat(f"{line}\nHello\n", "-p", "bold", "--drafter", "persona:bold", "--seed", "5")
    assert code == 1
    assert "mpg: error: " in err
    assert message in err
    assert "Traceback" not in err
    assert out.strip("\n")


def test_a_turn_out_of_memory_is_reported_and_the_chat_continues(chat: Run) -> None:
    def run_short(number: int) -> None:
        if number == 6:
            raise RuntimeError("CUDA out of memory")

    _, expected, _ = chat("Hello\n", "-p", "bold", "--seed", "5")
    with after_passes(run_short):
        code, out, err = chat("Hello\nHello\n", "-p", "bold", "--seed", "5")
    assert (code, "not enough memory for one prompt" in err) == (1, True)
    assert out.endswith(expected)


def test_bytes_that_are_not_text_are_reported_with_their_line(chat: Run) -> None:
    code, out, err = chat(b"\xff\xfe\nHello\n", "-p", "bold", "--seed", "5")
    assert (code, bool(out)) == (1, True)
    assert "line 1 of stdin: not UTF-8: byte 0xff" in err


def test_a_saved_chat_continues_and_its_messages_are_an_input_of_generate(
    chat: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpg_cli.cli.app import main

    file, again = tmp_path / "chat.json", tmp_path / "again.json"
    plain = ["--format", "json"]
    lines = f"Hello\n/weight bold 0.5\nAnd?\n/save {file}\nGo on\n"
    _, whole, err = chat(lines, "-p", "bold", "--seed", "5", "--system", "Be kind.", *plain)
    assert str(file) in err
    code, rest, err = chat(f"Go on\n/save {again}\n", "--load", str(file), *plain)
    assert code == 0, err
    assert [r["token_ids"] for r in objects(rest)] == [objects(whole)[2]["token_ids"]]
    saved = json.loads(again.read_text())
    assert [m["role"] for m in saved["messages"]] == ["system", *["user", "assistant"] * 3]
    assert (saved["persona"], saved["seed"]) == ("bold:0.5", 5)
    asked = ["--messages", str(again), "--seed", "5", "--sequence-id", "turn-3", "--max-tokens", "6", *plain]
    assert main(["generate", "-p", "bold:0.5", "--device", "cpu", *asked]) == 0
    assert objects(capsys.readouterr()[0])[0]["token_ids"] == objects(whole)[2]["token_ids"]
    code, _, err = chat("", "--load", str(file), "-p", "nobody")
    assert (code, "unknown persona 'nobody'" in err) == (2, True)


def test_an_error_of_a_saved_value_is_not_that_of_a_variable(
    chat: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "chat.json"
    chat(f"Hello\n/save {file}\n", "-p", "bold", "--seed", "5")
    file.write_text(file.read_text().replace('"bold"', '"nobody"'))
    monkeypatch.setenv("MPG_PERSONA", "bold")
    code, _, err = chat("", "--load", str(file))
    assert (code, "unknown persona 'nobody'" in err, "set by" in err) == (2, True, False)
    monkeypatch.setenv("MPG_LOAD", str(file))
    assert "hint: set by MPG_LOAD; " in chat("")[2]


def test_the_scale_of_a_saved_blend_counts_once(
    chat: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, again = tmp_path / "chat.json", tmp_path / "again.json"
    monkeypatch.setenv("MPG_SCALE", "0.5")
    chat(f"Hello\n/save {file}\n", "-p", "bold", "--seed", "5")
    assert json.loads(file.read_text())["persona"] == "bold:0.5"
    chat(f"Hello\n/save {again}\n", "--load", str(file))
    assert json.loads(again.read_text())["persona"] == "bold:0.5"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not a saved chat"),
        ("[]", "is not a saved chat"),
        ('{"format": "mpg-chat", "version": 2}', "has version 2, this mpg reads 1"),
        ('{"format": "mpg-chat", "version": 1}', "model is missing"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_saved_chat_is_refused_before_anything_loads(
    chat: Run, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "chat.json"
    if content is not None:
        file.write_text(content)
    code, out, err = chat("Hello\n", "--load", str(file))
    assert (code, out) == (2, "")
    assert message in err


def test_save_does_not_overwrite_what_is_no_chat(chat: Run, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear all")
    code, _, err = chat(f"/save {file}\n", "-p", "bold")
    assert (code, file.read_text()) == (1, "Dear all")
    assert "is not a saved chat" in err


def test_help_and_usage_errors_load_no_torch() -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main\n"
        "main(['chat', '--help']); code = main(['chat', '-p', 'pirate', '--top-p', '2'])\n"
        "print({'torch', 'transformers', 'rich', 'readline'} & set(sys.modules), code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("set() 2\n"), done.stderr


class Tty:
    """`mpg chat` whose controlling terminal is a pseudo-terminal: Ctrl-C and Ctrl-D are typed."""

    def __init__(self, *argv: str, **env: str) -> None:
        self.pid, self._master = pty.fork()
        if not self.pid:
            kept = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}}
            environment = {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **env}
            os.execve(sys.executable, [sys.executable, "-m", "mpg_cli", "chat", *argv], environment)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self._output = b""
        self._seen = 0

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self, typed: str = "") -> None:
        """Ctrl-C behind a few words. It comes to readline at rest: in the middle of a key it would wait."""
        self.type(typed)
        self.until(re.escape(typed))
        time.sleep(0.3)
        self.type("\x03")

    def until(self, pattern: str, seconds: float = 60) -> str:
        """What it writes until the pattern appears behind what was seen before."""
        deadline = time.monotonic() + seconds
        while True:
            text = self._output.decode("latin-1")  # a character a byte, so that places stay
            found = re.compile(pattern).search(text, self._seen)
            if found:
                piece, self._seen = text[self._seen : found.end()], found.end()
                return piece
            assert time.monotonic() < deadline, f"no {pattern!r} in {text[self._seen :]!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self._output += os.read(self._master, 65536)
                except OSError:
                    deadline = 0

    def code(self) -> int:
        """The exit code when it has ended; the rest of its output is read."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self._output += os.read(self._master, 65536)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._master)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("still running")


@pytest.fixture
def argv(world: Path) -> list[str]:
    set_context(world, 6000)
    folders = ["--model", str(world / "base"), "--persona-dir", str(world), "--device", "cpu"]
    return [*folders, "-p", "bold+calm", "--drafter", "none", "--seed", "5"]


def test_ctrl_c_stops_the_reply_and_ctrl_d_leaves(argv: list[str], tmp_path: Path) -> None:
    state = tmp_path / "state"
    tty = Tty(*argv, "--max-tokens", "5000", XDG_STATE_HOME=str(state))
    assert "bold+calm on " in tty.until(r"\n> ")
    tty.type("Tell me all\r")
    tty.until(r"[1-9]\d* tokens")  # the status line: the reply streams
    tty.type("\x03")
    assert "interrupted" in tty.until(r"seed\s+5\S*\r\n")
    tty.until("> ")
    tty.type("/stats\r")
    tty.until(r"exchanges +1\r\n")
    tty.until("> ")
    tty.interrupt("half a turn")
    tty.until(r"\r\n> ")
    tty.interrupt()
    tty.until("Ctrl-D or /exit ends the chat")
    tty.until("> ")
    tty.type("/wei\t")
    tty.until("/weight ")
    tty.type("bold 0.5\r")
    tty.until(re.escape("bold:0.5+calm: "))
    tty.until("> ")
    tty.type("\x04")
    assert tty.code() == 0
    file = state / "mpg" / "chat_history"
    assert file.read_text().splitlines() == ["Tell me all", "/stats", "/weight bold 0.5"]
    assert file.stat().st_mode & 0o777 == 0o600

    tty = Tty(*argv, "--no-history", XDG_STATE_HOME=str(state))
    tty.until(r"\n> ")
    tty.interrupt("not kept")
    tty.until(r"\r\n> ")
    tty.type("\x1b[A")  # the arrow up brings nothing
    tty.type("/seed\r")
    tty.until(r"\r\nseed 5")
    os.kill(tty.pid, signal.SIGTERM)
    assert tty.code() == 143
    assert "/seed" not in file.read_text()
