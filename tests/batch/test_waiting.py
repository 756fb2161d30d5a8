"""The queue before a source that may be slow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpg_cli.batch.events import LineFailed
from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.batch.waiting import Waiting
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Sampling


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
        found.append(queue.take(queue.oldest).id)
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


def test_who_waits_gets_a_line_and_those_that_come_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("mpg_cli.batch.waiting.sleep", slept.append)
    queue = waiting(None, None, line("a"), line("b"), None, line("c"))
    assert not list(queue.read(9, wait=True))
    assert (len(queue), len(slept)) == (2, 2)
    assert not list(queue.read(9, wait=True))  # some wait: there is something to do
    assert (ids(queue), len(slept)) == (["a", "b", "c"], 2)


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
    found = (
        line("a"),
        line("b", "calm"),
        line("c", max_tokens=3),
        line("d", temperature=0.5),
        line("e", "calm"),
    )
    queue = waiting(*found)
    assert not list(queue.read(9))
    plain = queue.oldest
    assert queue.count(plain) == 2
    assert [queue.take(plain).id, queue.take(plain).id] == ["a", "c"]
    assert queue.count(plain) == 0
    assert queue.first(plain) is None
    assert queue.oldest.persona == "calm"
    assert ids(queue) == ["b", "d", "e"]


def test_what_is_given_back_goes_before_all_others() -> None:
    queue = waiting(line("a"), line("b", "calm"), line("c"))
    assert not list(queue.read(9))
    plain = queue.oldest
    taken = [queue.take(plain), queue.take(plain)]
    assert queue.oldest.persona == "calm"
    queue.give_back([*taken, line("d", "calm")], alone=["c"])
    assert (queue.oldest, queue.count(plain)) == (plain, 1)
    assert queue.take(plain) == taken[0]
    assert queue.oldest == plain._replace(alone=True)
    queue.closed = True
    assert queue.first(queue.oldest) is None
    assert ids(queue) == ["c", "d", "b"]
