"""Reading lines of pipes and terminals without blocking."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from mpg_cli.batch.feed import READ_AHEAD, Feed, may_block


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The end that is read, and the end that is written."""
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        yield source, sink


def wait(feed: Iterator[bytes | None]) -> bytes | None:
    """The next line, when there is one; None at the end."""
    for _ in range(2000):
        found = next(feed, b"")
        if found is not None:
            return found or None
        time.sleep(0.005)
    raise AssertionError("nothing came")


def test_lines_come_when_they_are_there(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    with Feed(source) as feed:
        found = iter(feed)
        assert next(found) is None
        sink.write(b"one\ntw")
        assert wait(found) == b"one\n"
        assert next(found) is None  # half a line is not yielded
        sink.write(b"o\n\nlast")
        assert [wait(found), wait(found)] == [b"two\n", b"\n"]
        sink.close()
        assert wait(found) == b"last"
        assert wait(found) is None
        assert next(found, b"ended") == b"ended"


def test_no_more_is_held_than_said_and_all_of_it_comes(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    many = [b"%d\n" % n for n in range(5 * READ_AHEAD)]
    sink.write(b"".join(many))
    sink.close()
    with Feed(source) as feed:
        time.sleep(0.05)
        assert feed._queue.qsize() <= READ_AHEAD
        assert [wait(feed) for _ in many] == many
        assert wait(feed) is None


def test_a_terminal_that_goes_away_is_an_error() -> None:
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as source, Feed(source) as feed:
        os.write(theirs, b"one\n")
        assert wait(feed) == b"one\r\n"
        os.close(theirs)
        with pytest.raises(OSError, match="Input/output"):
            wait(feed)
        assert next(feed, b"ended") == b"ended"


def test_a_terminal_ends_at_the_first_end_even_after_half_a_line() -> None:
    """Ctrl-D twice: the first gives what was typed of the line, the second the end, and no third is asked."""
    ours, theirs = os.openpty()
    with open(theirs, "rb") as source, Feed(source) as feed:
        os.write(ours, b"one\nhalf\x04\x04")
        assert [wait(feed), wait(feed), wait(feed)] == [b"one\n", b"half", None]
    os.close(ours)


def test_only_files_never_wait(tmp_path: Path, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    ours, theirs = os.openpty()
    (tmp_path / "file").write_bytes(b"")
    with open(ours, "rb", buffering=0) as terminal, (tmp_path / "file").open("rb") as file:
        found = [may_block(source) for source in (pipe[0], terminal, file, io.BytesIO())]
    os.close(theirs)
    assert found == [True, True, False, False]


def test_closing_does_not_join_the_thread(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """Leaving and closing the source while it waits for a line takes no time."""
    source, _ = pipe
    with Feed(source) as feed:
        assert next(iter(feed)) is None
    source.close()
