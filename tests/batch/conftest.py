"""A tiny random model with two adapters and a prompt-only persona, for the tests of the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chat_world import build


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `base` and the personas that use it."""
    return build(tmp_path_factory.mktemp("world"), context=160)
