"""Text files that are read line by line. Torch-free."""

from __future__ import annotations

from pathlib import Path

from mpg_cli.errors import UsageError


def read_lines(file: Path, told: str) -> list[str]:
    """All lines of a UTF-8 file, broken at line feeds only. Raises UsageError; the file is `told` in it."""
    try:
        return file.expanduser().read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UsageError(f"{told} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{told} is not UTF-8 text") from None


def read_prompts(file: Path, told: str) -> list[str]:
    """The lines that have something on them. Raises UsageError where there are none."""
    found = [line.strip() for line in read_lines(file, told) if line.strip()]
    if not found:
        raise UsageError(f"{told} has no prompt", hint="write one a line")
    return found
