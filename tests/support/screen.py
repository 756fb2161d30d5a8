"""A real pseudo-terminal for a child process, and a small terminal to see what its output looks like."""

from __future__ import annotations

import fcntl
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
from pathlib import Path

from rich.cells import get_character_cell_size

ROOT = Path(__file__).parents[2]
_TOKEN = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(.)", re.DOTALL)


class Screen:
    """What a terminal of this width shows in the end, scrolled-out lines included. Unknown controls raise."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.cursor_visible = True

    def feed(self, output: str) -> Screen:
        """Show more output."""
        for argument, command, char in _TOKEN.findall(output):
            if command:
                self._command(argument, command)
            elif char == "\n":
                self._down()
            elif char == "\r":
                self.column = 0
            else:
                assert char.isprintable() or char == "\u200d", f"{char!r} reached the terminal"
                self._put(char)
        return self

    @property
    def lines(self) -> list[str]:
        """The rows as text; the empty ones at the end left out."""
        texts = ["".join(row).rstrip() for row in self.rows]
        while texts and not texts[-1]:
            texts.pop()
        return texts

    def _put(self, char: str) -> None:
        cells = get_character_cell_size(char)
        if not cells and self.column:  # belongs to the character before it
            self.rows[self.row][self.column - 1] += char
            return
        if self.column + cells > self.columns:
            self._down()
            self.column = 0
        row = self.rows[self.row]
        row.extend(" " * (self.column + cells - len(row)))
        row[self.column : self.column + cells] = [char] + [""] * (cells - 1)
        self.column += cells

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def _command(self, argument: str, command: str) -> None:
        if command == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif command == "K":
            row = self.rows[self.row]
            self.rows[self.row] = [] if argument == "2" else row[: self.column]
        elif command in "hl" and argument == "?25":
            self.cursor_visible = command == "h"
        else:
            assert command == "m", f"unknown control {argument}{command}"


def open_terminal(columns: int, rows: int = 8) -> tuple[int, int]:
    """A pseudo-terminal: the end that shows what is written, and the one for a process."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return master, slave


def drain(master: int, seconds: float = 60) -> str:
    """Everything that is written until the other end is closed everywhere; closes it."""
    found, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                found += os.read(master, 65536)
            except OSError:  # the other end is closed
                break
    os.close(master)
    return found.decode("utf-8", "replace")


class Terminal:
    """A child process whose stdin, stdout and stderr are a pseudo-terminal."""

    def __init__(self, script: str, *arguments: str, columns: int = 40, rows: int = 8, **env: str) -> None:
        master, slave = open_terminal(columns, rows)
        kept = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **env},
            start_new_session=True,
        )
        os.close(slave)
        self._master = master
        self.output = ""
        self._bytes = b""

    def read_until(self, text: str, seconds: float = 20) -> str:
        """Read until the output holds `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r} in {self.output!r}"
            if not self._read(0.1):
                break
        assert text in self.output, f"no {text!r} in {self.output!r}"
        return self.output

    def write(self, text: str) -> None:
        """What the user types."""
        os.write(self._master, text.encode())

    def until_asleep(self, seconds: float = 20) -> None:
        """Wait until the process sleeps, as it does while it reads.

        A signal that comes between a question and the reading of its answer is not seen before the answer.
        """
        state = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + seconds
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, f"still busy: {self.output!r}"
            time.sleep(0.01)

    def finish(self, seconds: float = 20) -> str:
        """Everything the process writes until it ends."""
        deadline = time.monotonic() + seconds
        while self._read(0.1):
            assert time.monotonic() < deadline, f"still running: {self.output!r}"
        self.process.wait(timeout=5)
        os.close(self._master)
        return self.output

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def _read(self, timeout: float) -> bool:
        """One more piece of output; False when the terminal is closed."""
        if not select.select([self._master], [], [], timeout)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self._bytes += piece
        self.output = self._bytes.decode("utf-8", "replace")
        return bool(piece)
