"""The queue before a source that may be slow."""

from __future__ import annotations

from collections.abc import Iterator

from mpg_cli.batch.events import LineFailed
from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.batch.waiting import Waiting
from mpg_cli.request import Prompting, Sampling


def line(id_: str, persona: str | None = None, **sampling: float) -> Line:
    return Line(1, id_, "digest", Prompting("?"), Sampling(**sampling), persona)  # type: ignore[arg-type]


def waiting(*found: Line | BadLine | None) -> Waiting:
    queue = Waiting()
    queue.source = iter(found)
    return queue


def ids(queue: Waiting) -> list[str]:
    """Of all that wait, in order."""
    found = []
    while len(queue):
        found.append(queue.oldest.id)
        queue.take(queue.oldest)
    return found


def test_what_is_there_is_taken_and_no_more() -> None:
    queue = waiting(line("a"), None, line("b"), line("c"), line("d"))
    assert not list(queue.read(3))
    assert (len(queue), queue.late) == (1, True)
    assert not list(queue.read(3))
    assert (len(queue), queue.late) == (3, False)
    assert not list(queue.read(9))
    assert (len(queue), queue.late) == (4, False)
    assert ids(queue) == ["a", "b", "c", "d"]


def test_who_waits_gets_a_line_and_those_that_come_with_it() -> None:
    queue = waiting(None, None, line("a"), None, line("b"), None, None, line("c"))
    assert not list(queue.read(9, wait=True))
    assert ids(queue) == ["a", "b"]


def test_an_end_is_not_waited_for() -> None:
    queue = waiting(None, None)
    assert not list(queue.read(9, wait=True))
    assert not queue.late


def test_a_wrong_line_is_told_while_none_has_come() -> None:
    def source() -> Iterator[Line | BadLine | None]:
        yield BadLine(1, "x", "digest", "bad_value", "wrong")
        raise AssertionError("asked again before the error was told")

    queue = Waiting()
    queue.source = source()
    assert isinstance(next(queue.read(9, wait=True)), LineFailed)


def test_who_is_closed_does_not_wait() -> None:
    def source() -> Iterator[Line | BadLine | None]:
        yield None
        queue.closed = True
        while True:
            yield None

    queue = Waiting()
    queue.source = source()
    assert not list(queue.read(9, wait=True))


def test_lines_of_one_key_share_persona_and_sampling() -> None:
    queue = waiting(line("a"), line("b", "calm"), line("c", max_tokens=3), line("d", temperature=0.5))
    assert not list(queue.read(9))
    key = queue.key(line("a"))
    assert queue.count(key) == 2
    queue.give_back([line("e"), line("f")], alone=["e"])
    assert queue.count(key) == 3
    first = queue.first(key)
    assert first is not None
    assert first.id == "f"
    assert queue.key(queue.oldest).alone
    queue.closed = True
    assert queue.first(key) is None
    assert ids(queue) == ["e", "f", "a", "b", "c", "d"]
