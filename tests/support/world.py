"""Models on disk and the personas that use them: two adapters, a prompt, a checkpoint, a smaller model."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.adapters import tiny_adapter
from tests.support.models import BYTES, save_chat_model, tiny_model

CONTEXT = 160
PERSONAS = """\
name: bold
prompt: Be bold.
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
---
name: other
adapters: [{base: elsewhere, path: calm}]
---
name: both
prompt: Be bold.
adapters: [{base: base, path: bold}]
use: both
"""


def build(folder: Path) -> Path:
    """A folder of the models `base`, `full`, `smaller`, the adapters `bold`, `calm`, and personas.yaml."""
    save_chat_model(folder / "base", seed=0, max_position_embeddings=CONTEXT)
    save_chat_model(folder / "full", seed=50, max_position_embeddings=CONTEXT)
    padded = {"vocab_size": 264, "num_hidden_layers": 1}
    save_chat_model(folder / "smaller", seed=60, max_position_embeddings=CONTEXT, **padded)
    base = tiny_model("llama", 0, **BYTES)
    tiny_adapter(folder / "bold", "llama", seed=1, r=4, base=base, size=0.2)
    tiny_adapter(folder / "calm", "llama", seed=2, r=2, base=base, size=0.2)
    (folder / "personas.yaml").write_text(PERSONAS)
    return folder


def set_context(world: Path, length: int) -> None:
    """Let all models of the world read so many tokens; weights of rotary positions know no length."""
    for name in ("base", "full", "smaller"):
        file = world / name / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": length}))
