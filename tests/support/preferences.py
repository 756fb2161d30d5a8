"""Preference data of which a tiny model learns something in a moment."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def preferences(count: int = 24) -> list[dict[str, str]]:
    """The chosen reply is of a's, the rejected one of b's."""
    return [{"prompt": f"say {n}", "chosen": "aaaa", "rejected": "bbbb"} for n in range(count)]


def responses(count: int = 24) -> list[dict[str, str]]:
    return [{"prompt": f"say {n}", "response": "aaaa"} for n in range(count)]


@contextmanager
def quick_collections() -> Iterator[None]:
    """The trainers collect garbage in every run: take out of its reach what the imports brought."""
    from mpg_cli.training import trainer as _trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
