"""The picture of the live view: a terminal in the middle of a reply of the bundled model.

    python -m pictures.live

writes docs/images/live.svg. It needs tmux, and the command `mpg` in the environment of this Python. Nothing
is typed by hand: the program runs in a real terminal, which is looked at until the reply is over, and the
last look before that is drawn. It is the reply that pictures.explain explains.
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
COLUMNS, LINES = 114, 12
COMMAND = 'mpg generate -p INTJ+pirate "How should I spend my weekend?" --min-p 0.1 --seed 3 --sequence-id 12'
GROWING = "accepted · chunk"  # stands in the status while a reply grows
SERVER = ["tmux", "-L", f"mpg-picture-{os.getpid()}"]
PATIENCE = 60  # seconds


def main() -> None:
    """Draw the picture."""
    if shutil.which("tmux") is None:
        sys.exit("no tmux: apt-get install tmux")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = ["env", f"PATH={path}", "PS1=$ ", "COLORTERM=truecolor", "bash", "--norc", "--noprofile"]
    try:
        _tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), *shell)
        while "$" not in _tmux("capture-pane", "-p"):  # the shell's prompt
            time.sleep(0.1)
        _tmux("send-keys", COMMAND, "Enter")
        shown = _last_look()
    finally:
        subprocess.run([*SERVER, "kill-server"], check=False, capture_output=True)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(_drawn(shown), encoding="utf-8")
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


def _last_look() -> str:
    """The terminal as it was last seen while the reply grew, with its colours."""
    seen = None
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = _tmux("capture-pane", "-e", "-p")
        if GROWING in now:
            seen = now
        elif seen is not None:
            return seen.rstrip()
        time.sleep(0.01)
    sys.exit(f"no reply was seen in {PATIENCE} seconds")


def _drawn(shown: str) -> str:
    """The terminal as SVG that fetches nothing."""
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
