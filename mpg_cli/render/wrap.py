"""Word wrap of growing text by terminal cells; wide characters count as two."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

TAB = 8
_PIECES = re.compile(" +|[^ ]+")


class Column:
    """The lines of a growing text: `add` returns the complete ones, `partial` is the line in progress.

    A word that does not fit moves to the next line as a whole, so a complete line never changes. Spaces at a
    break are dropped from complete lines.
    """

    def __init__(self) -> None:
        self._partial = ""

    @property
    def partial(self) -> str:
        return self._partial.rstrip(" ")

    def add(self, text: str, width: int) -> list[str]:
        """Append cleaned text; returns the lines completed by it, each of at most `width` cells."""
        lines: list[str] = []
        *ended, rest = (self._partial + text).split("\n")
        for line in ended:
            lines += [part.rstrip(" ") for part in wrap(_untabbed(line), width)]
        *full, self._partial = wrap(_untabbed(rest), width)
        return lines + [part.rstrip(" ") for part in full]

    def end(self) -> str:
        """Return and clear the line in progress."""
        rest, self._partial = self.partial, ""
        return rest


def wrap(text: str, width: int) -> list[str]:
    """Wrap one line to lines of at most `width` cells (without trailing spaces); at least one line."""
    width = max(2, width)  # room for one wide character
    lines: list[str] = []
    line, used = "", 0
    for piece in _PIECES.findall(text):
        cells = cell_len(piece)
        if piece.startswith(" ") or used + cells <= width:
            line, used = line + piece, used + cells
            continue
        if line.strip(" "):
            lines.append(line)
            line = ""
        *chopped, line = chop_cells(piece, width) if cells > width else [piece]
        lines += chopped
        used = cell_len(line)
    return [*lines, line]


def _untabbed(line: str) -> str:
    """The line with tabs expanded to spaces."""
    if "\t" not in line:
        return line
    head, *cells = line.split("\t")
    for cell in cells:
        head += " " * (TAB - cell_len(head) % TAB) + cell
    return head
