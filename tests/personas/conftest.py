"""Persona files written for one test."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.files import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes dedented text to a file below the test's folder and returns its path."""

    def to(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return file

    return to
