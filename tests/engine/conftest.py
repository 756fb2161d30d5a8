"""The world of these tests, made once a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chat_world import SIZES, build
from tests.engine.world import YAML
from tests.models.tiny import tiny_model
from tests.models.words import byte_tokenizer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, two adapters, a checkpoint, a smaller model and the personas that use them."""
    folder = build(tmp_path_factory.mktemp("world"), context=160, personas=YAML)
    padded = SIZES | {"vocab_size": 264, "num_hidden_layers": 1}
    tiny_model("llama", 60, **padded, max_position_embeddings=160).save_pretrained(folder / "smaller")
    byte_tokenizer(extra=3).save_pretrained(folder / "smaller")
    return folder
