"""Text that grows, cut into lines of a terminal: word wrap by cells, wide characters count two."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

TAB = 8
_PIECES = re.compile(" +|[^ ]+")


class Column:
    """The lines of a growing text: `add` returns those that are complete, `partial` is the one in progress.

    A word that outgrows its line moves to the next one as a whole, so a complete line never changes.
    Spaces at a break hang beyond the edge and are dropped when the line is complete.
    """

    def __init__(self) -> None:
        self._partial = ""

    @property
    def partial(self) -> str:
        return self._partial.rstrip(" ")

    def add(self, text: str, width: int) -> list[str]:
        """Append cleaned text; the lines it completed, each at most `width` cells."""
        lines: list[str] = []
        *ended, rest = (self._partial + text).split("\n")
        for line in ended:
            lines += [part.rstrip(" ") for part in wrap(_untabbed(line), width)]
        *full, self._partial = wrap(_untabbed(rest), width)
        return lines + [part.rstrip(" ") for part in full]

    def end(self) -> str:
        """Take what is left of the line in progress."""
        rest, self._partial = self.partial, ""
        return rest


def wrap(text: str, width: int) -> list[str]:
    """One line of text as lines of at most `width` cells (hanging spaces not counted); never empty."""
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
    """Tabs as spaces up to the next stop."""
    if "\t" not in line:
        return line
    head, *cells = line.split("\t")
    for cell in cells:
        head += " " * (TAB - cell_len(head) % TAB) + cell
    return head
