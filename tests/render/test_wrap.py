"""Word wrap of a text that grows."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from mpg_cli.render.wrap import Column, wrap

TEXT = (
    "The quick  brown fox\n\njumps over 日本語のテキスト and a-very-long-word-that-does-not-fit, or so?\nEnd"
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one two three", ["one two ", "three"]),
        ("one two 3", ["one two 3"]),
        ("  indented text", ["  indented ", "text"]),
        ("abcdefghijklm", ["abcdefghij", "klm"]),
        ("a abcdefghijklm", ["a ", "abcdefghij", "klm"]),
        ("日本語日本語", ["日本語日本", "語"]),
        ("x日本語日本語", ["x日本語日", "本語"]),
        ("abcdefghij k", ["abcdefghij ", "k"]),
    ],
)
def test_lines_break_between_words(text: str, lines: list[str]) -> None:
    assert wrap(text, 10) == lines


@pytest.mark.parametrize("width", [2, 3, 10, 17, 80])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_do_not_depend_on_the_pieces(width: int, size: int) -> None:
    """And none is wider than the terminal."""
    column = Column()
    lines = []
    for at in range(0, len(TEXT), size):
        lines += column.add(TEXT[at : at + size], width)
        assert cell_len(column.partial) <= width
    lines.append(column.end())
    whole = [part.rstrip(" ") for line in TEXT.split("\n") for part in wrap(line, width)]
    assert lines == whole
    assert max(map(cell_len, lines)) <= width


def test_a_space_at_the_edge_still_parts_two_words() -> None:
    column = Column()
    assert column.add("abcd", 4) == []
    assert column.add(" ", 4) == []
    assert column.add("ef", 4) == ["abcd"]
    assert column.end() == "ef"


def test_a_newline_at_the_edge_adds_no_empty_line() -> None:
    column = Column()
    assert column.add("abcd ", 4) == []
    assert column.add("\nx", 4) == ["abcd"]


def test_tabs_go_to_the_next_stop() -> None:
    column = Column()
    column.add("ab\tc\t", 40)
    column.add("d", 40)
    assert column.end() == "ab      c       d"
