"""Replies side by side: they fit the terminal, keep their text, and are stacked where it is narrow."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len

from mpg_cli.engine.events import Finished
from mpg_cli.render.columns import write_block, write_columns
from tests.support.replies import SPEC, reply

TEXTS = ["One two three. " * 8, "短い文です。" * 12 + "\n\n\tend", "e\x1b[31mvil \u202e[bold]text[/bold]"]


def replied(persona: str, text: str) -> Finished:
    *_, finished = reply([text], spec=replace(SPEC, persona=persona))
    assert isinstance(finished, Finished)
    return finished


def drawn(width: int, *, ascii_: bool = False, color: bool = False) -> list[str]:
    out = io.StringIO()
    replies = [replied(f"persona-{i}", text) for i, text in enumerate(TEXTS)]
    write_columns(out, replies, width, color=color, ascii_=ascii_)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [84, 100, 131])
def test_columns_fit_and_hold_the_whole_text(width: int) -> None:
    lines = drawn(width)
    assert max(map(cell_len, lines)) <= width
    assert [part.strip() for part in lines[0].split("│")] == ["persona-0", "persona-1", "persona-2"]
    places = [[cell_len(line[:at]) for at, char in enumerate(line) if char == "│"] for line in lines if line]
    assert len({tuple(place) for place in places if len(place) == 2}) == 1
    columns = [[line.split("│")[i] for line in lines if line.count("│") == 2] for i in range(3)]
    assert TEXTS[0].strip() in " ".join(" ".join(columns[0]).split())
    assert "".join(columns[1]).replace(" ", "").count("短い文です。") == 12
    assert "e[31mvil [bold]text[/bold]" in " ".join(" ".join(columns[2]).split())
    assert "67% accepted" in "".join(columns[0])


def test_a_narrow_terminal_gets_them_one_below_the_other() -> None:
    lines = drawn(60)
    assert max(map(cell_len, lines)) <= 60
    heads = [i for i, line in enumerate(lines) if line.startswith("persona-")]
    assert len(heads) == 3
    assert not any("│" in line for line in lines)


def test_controls_never_reach_the_terminal_and_ascii_stays_ascii_but_for_the_text() -> None:
    assert not any("\x1b" in line or "\u202e" in line for line in drawn(100))
    assert any("\x1b[1mpersona-0\x1b[22m" in line for line in drawn(100, color=True))
    assert not any("│" in line for line in drawn(100, ascii_=True))


def test_a_block_has_its_heading_and_the_unchanged_text() -> None:
    out = io.StringIO()
    write_block(out, replied("INTJ+pirate", TEXTS[2]), sample=True)
    head, text, empty, _ = out.getvalue().split("\n")
    assert head.startswith("== INTJ+pirate [0] · 67% accepted")
    assert (text, empty) == (TEXTS[2], "")
