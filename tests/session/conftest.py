"""The world of these tests, made once a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import tiny_adapter, tiny_model
from tests.models.words import byte_tokenizer
from tests.session.world import SIZES, YAML


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, two adapters, a checkpoint and the personas that use them."""
    folder = tmp_path_factory.mktemp("world")
    tokenizer = byte_tokenizer(extra=3)
    for name, seed in (("base", 0), ("full", 50)):
        model = tiny_model("llama", seed, **SIZES, max_position_embeddings=160)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    padded = SIZES | {"vocab_size": 264, "num_hidden_layers": 1}
    tiny_model("llama", 60, **padded, max_position_embeddings=160).save_pretrained(folder / "smaller")
    tokenizer.save_pretrained(folder / "smaller")
    base = tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=base, size=0.2)
    tiny_adapter(folder / "calm", "llama", seed=2, r=2, base=base, size=0.2)
    (folder / "personas.yaml").write_text(YAML)
    return folder
