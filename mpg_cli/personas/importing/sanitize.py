"""Sanitizes imported data for a persona file and reports every change.

A persona file has no control characters, limited nesting and at most 1 MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpg_cli.io.safe_yaml import MAX_BYTES, MAX_DEPTH, KeyPath, describe
from mpg_cli.io.text import HARMFUL

_SHOWN = 5  # places listed in a notice
_ABOVE = 2  # levels of the file above the contents of `extensions`


def without_controls(text: str) -> str:
    """`text` with Unix line ends and without the characters forbidden in persona files."""
    return HARMFUL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, limit: int) -> str:
    """`text` on one line without control characters, cut after `limit` characters."""
    line = " ".join(without_controls(text[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


@dataclass
class Sanitized:
    """Data for the key `extensions`, and the places that were changed."""

    data: dict[str, Any]
    line_ends: list[KeyPath] = field(default_factory=list)  # Windows line ends replaced
    cleaned: list[KeyPath] = field(default_factory=list)  # control characters removed
    dropped: list[KeyPath] = field(default_factory=list)  # nested too deeply, or a duplicate key
    too_large: list[KeyPath] = field(default_factory=list)

    def notices(self) -> list[str]:
        """A notice for each kind of change."""
        changes = (
            ("Windows line ends replaced in", self.line_ends),
            ("control characters removed from", self.cleaned),
            ("nested too deeply for a persona file and left out:", self.dropped),
            ("too large for a persona file and left out:", self.too_large),
        )
        return [f"{what} {_places(paths)}" for what, paths in changes if paths]

    def shrink(self, excess: int) -> bool:
        """Remove the smallest part of at least `excess` characters, or the largest part; False if empty."""
        if not self.data:
            return False
        path: KeyPath = ()
        node: Any = self.data
        while isinstance(node, (dict, list)) and node:
            items = node.items() if isinstance(node, dict) else enumerate(node)
            key, size = max(((key, _size(value)) for key, value in items), key=lambda item: item[1])
            if path and size < excess:
                break
            path, node = (*path, key), node[key]
        holder: Any = self.data
        for part in path[:-1]:
            holder = holder[part]
        del holder[path[-1]]
        self.too_large.append(path)
        return True


def sanitized(extensions: Mapping[str, Any]) -> Sanitized:
    """A copy of `extensions` that fits in a persona file by itself."""
    result = Sanitized({})
    result.data = _copy_mapping(dict(extensions), (), result)
    while (excess := _size(result.data) - MAX_BYTES) > 0 and result.shrink(excess):
        pass
    return result


def _copy(value: Any, path: KeyPath, result: Sanitized) -> Any:
    if isinstance(value, str):
        clean = without_controls(value)
        if "\r" in value:
            result.line_ends.append(path)
        if HARMFUL.search(value.replace("\r", "")):
            result.cleaned.append(path)
        return clean
    if isinstance(value, dict):
        return _copy_mapping(value, path, result)
    if isinstance(value, list):
        items = enumerate(value)
        return [_copy(item, (*path, i), result) for i, item in items if _shallow(item, (*path, i), result)]
    return value


def _copy_mapping(value: dict[str, Any], path: KeyPath, result: Sanitized) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        clean = without_controls(key)
        inside = (*path, clean)
        if clean in found:
            result.dropped.append(inside)
        elif _shallow(item, inside, result):
            if clean != key:
                result.cleaned.append(inside)
            found[clean] = _copy(item, inside, result)
    return found


def _shallow(item: Any, path: KeyPath, result: Sanitized) -> bool:
    """Whether `item` is within the nesting limit; records it otherwise."""
    if not isinstance(item, (dict, list)) or len(path) + _ABOVE <= MAX_DEPTH:
        return True
    result.dropped.append(path)
    return False


def _size(value: Any) -> int:
    """The approximate size of `value` in characters; json.dumps is slow for millions of small items."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(map(_size, value)) + sum(map(_size, value.values())) + 4 * len(value) + 2
    if isinstance(value, list):
        return sum(map(_size, value)) + 2 * len(value) + 2
    return len(repr(value))


def _places(paths: list[KeyPath]) -> str:
    names = list(dict.fromkeys(map(describe, paths)))
    shown = ", ".join(names[:_SHOWN])
    rest = len(names) - _SHOWN
    return shown + (f" and {rest} more" if rest > 0 else "")
