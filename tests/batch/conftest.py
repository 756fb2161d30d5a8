"""A tiny random model with two adapters and a prompt-only persona, for the tests of the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import tiny_adapter, tiny_model
from tests.models.words import byte_tokenizer

SIZES = {"vocab_size": 260, "eos_token_id": 256, "bos_token_id": None, "pad_token_id": None}
YAML = """\
name: bold
adapters: [{base: base, path: bold}]
---
name: calm
adapters: [{base: base, path: calm}]
---
name: terse
prompt: Say little.
"""


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `base` and the personas that use it."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny_model("llama", 0, **SIZES, max_position_embeddings=160)
    base.save_pretrained(folder / "base")
    byte_tokenizer(extra=3).save_pretrained(folder / "base")
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=base, size=0.2)
    tiny_adapter(folder / "calm", "llama", seed=2, r=2, base=base, size=0.2)
    (folder / "personas.yaml").write_text(YAML)
    return folder
