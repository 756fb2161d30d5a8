"""A real interactive shell on a pseudo-terminal, to press TAB in."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = {"bash": "mpg.bash", "zsh": "_mpg", "fish": "mpg.fish"}
START = "import sys; sys.argv[0] = 'mpg'; from mpg_cli.__main__ import main; sys.exit(main())"
PATIENCE = 30.0  # seconds for whatever is waited for
QUIET = 0.4  # seconds without output after which an echo is over

ARGV = {
    "bash": ["--noprofile", "--norc", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
# The function shows what would be run; completion runs the program of that name, not the function.
SET_UP = {
    "bash": "PS1='rea''dy> '; source {folder}/mpg.bash; mpg() {{ printf '<%s>' \"$@\"; echo; }}",
    "zsh": "PS1='rea''dy> '; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -d {home}/dump; "
    "mpg() {{ printf '<%s>' \"$@\"; echo }}",
    "fish": "function fish_prompt; echo 'rea''dy> '; end; source {folder}/mpg.fish; "
    "function mpg; printf '<%s>' $argv; echo; end",
}
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


class Shell:
    """bash, zsh or fish with the script of completions/ installed as the README says."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        program = shutil.which(name)
        assert program is not None
        (home / "bin").mkdir(parents=True, exist_ok=True)
        start = home / "bin" / "mpg"
        start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{START}" "$@"\n')
        start.chmod(0o755)
        env = {
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "HF_HOME": str(home / "hf"),
        }
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 160, 0, 0))  # rows, columns
            os.chdir(home)
            os.execve(program, [name, *ARGV[name]], env)
        self.read()
        self.send(SET_UP[name].format(folder=ROOT / "completions", home=home) + "\r")
        self.read("ready> ")

    def send(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read(self, *expected: str) -> str:
        """What the shell writes until all that is expected was there, or until it is quiet; no escapes."""
        raw, shown, end = b"", "", time.monotonic() + PATIENCE
        while time.monotonic() < end and not (expected and all(text in shown for text in expected)):
            pause = QUIET if raw and not expected else max(0.0, end - time.monotonic())
            if not select.select([self._terminal], [], [], pause)[0]:
                break
            try:
                piece = os.read(self._terminal, 65536)
            except OSError:  # the shell is gone
                break
            if b"\x1b[c" in piece or b"\x1b[0c" in piece:  # fish asks what terminal it has
                self.send("\x1b[?62c")
            raw += piece
            shown = _ESCAPES.sub("", raw.decode("utf-8", "replace"))
        return shown

    def press_tab(self, line: str, *expected: str, times: int = 1) -> str:
        """Type a line and TAB; what the shell shows."""
        self.send("\x15" + line)
        self.read()
        self.send("\t" * times)
        return self.read(*expected)

    def run(self) -> list[str]:
        """Enter: the arguments that `mpg` would get."""
        self.send("\r")
        return re.findall(r"<([^<>]*)>", self.read(">\r\n"))

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
