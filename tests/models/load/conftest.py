"""A tiny model, and an adapter of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.adapters import tiny_adapter
from tests.support.models import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter of rank 4 on q_proj and v_proj of the tiny Llama."""
    return tiny_adapter(tmp_path / "pirate", targets=["q_proj", "v_proj"])


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model()
