"""One error for all problems of an adapter, with one line for a problem of many layers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mpg_cli.errors import AdapterError
from mpg_cli.io.text import visible

LISTED = 20  # lines of a message


class Problems:
    """Collects problems and merges equal ones of many layers."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def add(self, text: str, name: str = "") -> None:
        """Add a problem, of the module or tensor `name` if given."""
        name = visible(name, 200)
        index = re.search(r"\.(\d+)(?=\.|$)", name)
        if index is not None:
            name = f"{name[: index.start(1)]}{{}}{name[index.end(1) :]}"
        layers = self._seen.setdefault((name, text), [])
        if index is not None:
            layers.append(int(index.group(1)))

    def error(self, intro: str, hint: str | None) -> AdapterError:
        """The error, with a line for each problem."""
        lines = []
        for (name, text), layers in self._seen.items():
            if layers:
                numbers = _ranges(layers)
                name = name.replace("{}", numbers if len(layers) == 1 else f"{{{numbers}}}", 1)
            lines.append(f"  - {name}: {text}" if name else f"  - {text}")
        if len(lines) > LISTED:
            lines = [*lines[:LISTED], f"  … and {len(lines) - LISTED} more"]
        return AdapterError("\n".join([intro, *lines]), hint=hint)


def _ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 → "0-2,5"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
