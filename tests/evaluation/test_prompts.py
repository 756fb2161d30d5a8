"""Prompts of a file: one a line, and a line ends at a newline only."""

from __future__ import annotations

from pathlib import Path

from mpg_cli.evaluation.prompts import read_prompts


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes("One\u2028still one?\r\n\r\nTwo\x85and\x0cthree?".encode())
    assert read_prompts(file) == ("One\u2028still one?", "Two\x85and\x0cthree?")
