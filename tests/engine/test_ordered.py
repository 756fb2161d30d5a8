"""Events of replies that run together, in the order of the replies."""

from __future__ import annotations

from mpg_cli.engine.events import Event, Failed, Notice, Progress
from mpg_cli.engine.ordered import Ordered
from mpg_cli.errors import MpgError
from tests.support.replies import reply


def events(sequence: int) -> list[Event]:
    return list(reply(["One ", "two."], sequence=sequence))


def passed(ordered: Ordered, request: str | None, *found: Event | Failed | Progress) -> list[object]:
    return [event for each in found for event in ordered.add(request, each)]


def test_those_of_the_first_pass_at_once_and_those_of_the_others_after_it() -> None:
    ordered = Ordered([("a", 0), ("a", 1), ("b", 0)])
    first, second, other = events(0), events(1), events(0)
    assert passed(ordered, "b", *other) == []
    assert passed(ordered, "a", second[0]) == []
    assert passed(ordered, "a", *first[:-1]) == first[:-1]
    assert passed(ordered, "a", first[-1]) == [first[-1], second[0]]
    assert passed(ordered, "a", *second[1:-1]) == second[1:-1]
    assert passed(ordered, "a", second[-1]) == [second[-1], *other]


def test_notices_wait_for_nothing_and_progress_is_left_out() -> None:
    ordered = Ordered([("a", 0), ("b", 0)])
    notice = Notice("a word")
    assert passed(ordered, "b", *events(0), notice, Progress(3, 1)) == [notice]
    assert passed(ordered, None, notice) == [notice]


def test_a_failure_has_the_place_of_its_reply() -> None:
    ordered = Ordered([("a", 0), ("b", 0), ("c", 0)])
    failed, last = Failed(0, "numerics", MpgError("NaN")), events(0)
    assert passed(ordered, "c", *last) == []
    assert passed(ordered, "b", failed) == []
    first = events(0)
    assert passed(ordered, "a", *first) == [*first, failed, *last]


def test_replies_that_never_begin_hold_no_other_back() -> None:
    ordered = Ordered([("a", 0), ("a", 1), ("b", 0)])
    first, other = events(0), events(0)
    assert passed(ordered, "b", *other) == []
    assert passed(ordered, "a", *first) == first
    assert list(ordered.ended(["a"])) == other
    assert list(ordered.ended(["a", "b"])) == []
