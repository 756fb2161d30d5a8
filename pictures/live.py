"""The picture of the live view: a terminal in the middle of a reply of SmolLM2.

    python -m pictures.live

writes docs/images/live.svg. It needs tmux, the command `mpg` in the environment of this Python, and what
`mpg models get smollm2` fetches. The program runs in a real terminal; the screen is captured until the reply
ends, and the last capture before that is rendered. The reply is that of pictures.explain.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

FILE = Path(__file__).parent.parent / "docs" / "images" / "live.svg"
COLUMNS, LINES = 118, 12
COMMAND = 'mpg generate -p N+pirate --seed 2 "How should I spend my weekend?"'
RUNNING = re.compile(r"token by token · [\d.]+ tokens/s")  # the status line during a reply
SERVER = ["tmux", "-L", f"mpg-picture-{os.getpid()}"]
TIMEOUT = 180  # seconds


def main() -> None:
    """Render the picture."""
    if shutil.which("tmux") is None:
        sys.exit("no tmux: apt-get install tmux")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = [f"PATH={path}", "PS1=$ ", "COLORTERM=truecolor", "MPG_MODEL=smollm2"]
    settings += ["MPG_DTYPE=float32", "MPG_DRAFTER=none"]
    shell = ["env", *settings, "bash", "--norc", "--noprofile"]
    try:
        _tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), *shell)
        while "$" not in _tmux("capture-pane", "-p"):  # the shell's prompt
            time.sleep(0.1)
        _tmux("send-keys", COMMAND, "Enter")
        shown = _last_capture()
    finally:
        subprocess.run([*SERVER, "kill-server"], check=False, capture_output=True)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(_svg(shown), encoding="utf-8")
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


def _last_capture() -> str:
    """The last capture of the terminal during the reply, with its colours."""
    seen = None
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        now = _tmux("capture-pane", "-e", "-p")
        if RUNNING.search(now):
            seen = now
        elif seen is not None:
            return seen.rstrip()
        time.sleep(0.2)
    sys.exit(f"no reply within {TIMEOUT} seconds")


def _svg(shown: str) -> str:
    """The terminal as self-contained SVG."""
    console = Console(
        width=COLUMNS, record=True, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(shown), soft_wrap=True)
    svg = console.export_svg(title="mpg", theme=MONOKAI, unique_id="mpg-live")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def _tmux(*arguments: str) -> str:
    return subprocess.run([*SERVER, *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
