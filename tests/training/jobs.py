"""A tiny model that can be trained in a moment, and preference data of which it learns something."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.models.tiny import save_model, tiny_model
from tests.models.words import TEMPLATE, byte_tokenizer

VOCABULARY = 264


def save_chat_model(folder: Path, architecture: str = "llama", **fields: Any) -> Path:
    """A complete folder of a tiny random model that knows bytes and a chat template."""
    fields = {
        "vocab_size": VOCABULARY,
        "eos_token_id": 256,
        "bos_token_id": None,
        "pad_token_id": None,
    } | fields
    tiny_model(architecture, **fields).save_pretrained(folder)
    byte_tokenizer(TEMPLATE, extra=VOCABULARY - 257).save_pretrained(folder)
    return folder


def save_plain_model(folder: Path) -> Path:
    """One of whole words without a chat template."""
    return save_model(folder)


def preferences(count: int = 24) -> list[dict[str, str]]:
    """The chosen reply is of a's, the rejected one of b's."""
    return [{"prompt": f"say {n}", "chosen": "aaaa", "rejected": "bbbb"} for n in range(count)]


def responses(count: int = 24) -> list[dict[str, str]]:
    return [{"prompt": f"say {n}", "response": "aaaa"} for n in range(count)]


def written(file: Path, rows: list[Any]) -> Path:
    """The rows as JSONL; text goes in as it is."""
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


@contextmanager
def quick_collections() -> Iterator[None]:
    """The trainers collect garbage in every run: take out of its reach what the imports brought."""
    from mpg_cli.training import trainer as _trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
