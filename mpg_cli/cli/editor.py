"""Opens a file in the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mpg_cli.errors import MpgError, UsageError


def command() -> list[str]:
    """The command of the user's editor ($VISUAL or $EDITOR). Raises UsageError if neither is set."""
    try:
        words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    except ValueError:
        words = []
    if not words:
        raise UsageError("--edit needs an editor", hint="set EDITOR, for instance to nano")
    return words


def edit(words: Sequence[str], file: Path) -> None:
    """Open the file in the editor and wait for it. Raises MpgError if the editor fails."""
    try:
        code = subprocess.run([*words, str(file)], check=False).returncode
    except OSError as error:
        raise MpgError(f"the editor {words[0]} cannot be started: {error.strerror}") from None
    if code:
        raise MpgError(f"the editor {words[0]} failed with exit code {code}")
