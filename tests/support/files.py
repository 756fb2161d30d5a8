"""Files that a test writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[[str, str], Path]  # name and text of a file below the test's folder; its path


def written(file: Path, rows: list[Any]) -> Path:
    """The rows as JSONL; text goes in as it is."""
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file
