"""A tiny random chat model with adapters, a prompt-only persona and a checkpoint."""

from __future__ import annotations

from pathlib import Path

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
---
name: full
adapters: [{base: base, checkpoint: full}]
"""


def build(folder: Path, context: int = 1500, personas: str = YAML) -> Path:
    """A folder with the model `base` and the personas that use it."""
    tokenizer = byte_tokenizer(extra=3)
    for name, seed in (("base", 0), ("full", 50)):
        tiny_model("llama", seed, **SIZES, max_position_embeddings=context).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    base = tiny_model("llama", 0, **SIZES, max_position_embeddings=context)
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=base, size=0.2)
    tiny_adapter(folder / "calm", "llama", seed=2, r=2, base=base, size=0.2)
    (folder / "personas.yaml").write_text(personas)
    return folder
