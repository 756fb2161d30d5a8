"""Lines of text: line ends, maximum length and invalid encodings."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.io.lines import MAX_LINE, UnreadableLine, raw_lines, read_lines, read_prompts, text_of


def test_a_line_ends_at_a_line_feed_only(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes("\ufeffOne\u2028still one\r\n\r\nTwo\x85and\x0cthree\rmore\n last ".encode())
    assert read_lines(file, "--x") == ["One\u2028still one", "", "Two\x85and\x0cthree\rmore", " last "]
    assert read_prompts(file, "--x") == ["One\u2028still one", "Two\x85and\x0cthree\rmore", "last"]


def test_a_mark_in_the_middle_is_text() -> None:
    assert text_of(b"\xef\xbb\xbfa\n", 1) == "a"
    assert text_of(b"\xef\xbb\xbfa\n", 2) == "\ufeffa"


class Bounded(io.BytesIO):
    """A file that is never asked for more than a line may have."""

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= MAX_LINE + 2
        return super().readline(size)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_that_is_too_long_is_read_in_pieces_and_refused(end: bytes) -> None:
    source = Bounded(b"x" * (3 * MAX_LINE) + end + b"short\n" * bool(end))
    first, *rest = raw_lines(source)
    assert len(first) == MAX_LINE + 2
    assert rest == ([b"short\n"] if end else [])
    with pytest.raises(UnreadableLine, match="longer than 16 MiB") as caught:
        text_of(first, 1)
    assert caught.value.kind == "too_long"


def test_a_cut_inside_a_character_is_still_too_long() -> None:
    with pytest.raises(UnreadableLine, match="longer than 16 MiB"):
        text_of(next(raw_lines(io.BytesIO(b"x" + "ü".encode() * MAX_LINE))), 1)


def test_the_longest_line_is_read() -> None:
    raw = b"x" * (MAX_LINE - 1) + b"\n"
    assert len(text_of(next(raw_lines(io.BytesIO(raw))), 1)) == MAX_LINE - 1


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one\ntwo \xff\n")
    with pytest.raises(UsageError, match=r"--prompts f:2: not UTF-8: byte 0xff"):
        read_lines(file, "--prompts f")
    with pytest.raises(UsageError, match="--prompts f cannot be read: No such file or directory"):
        read_lines(tmp_path / "no", "--prompts f")
    file.write_text(" \n\n")
    with pytest.raises(UsageError, match="has no prompt"):
        read_prompts(file, "--prompts f")
