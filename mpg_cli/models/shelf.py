"""Experts that were read once and may be needed again; the least recently used give way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shelf:
    """Adapters and checkpoints by where they come from, at most so many of them (None: all)."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._items: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """What is there under the key, or what `load` makes."""
        if key in self._items:
            self._items.move_to_end(key)
            found: T = self._items[key]
            return found
        item = self._items[key] = load()
        while self._most is not None and len(self._items) > self._most:
            self._items.popitem(last=False)
        return item
