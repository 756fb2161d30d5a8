"""The scheduler's queue before a source that may be slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpg_cli.engine.events import Failed
from mpg_cli.engine.queue import Queue
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.registry import Blend
from mpg_cli.sampling.params import Sampling, Scheme

CALM = Blend("calm", ())


def request(id_: str, blend: Blend | None = None, **sampling: Any) -> Request:
    return Request(
        ModelOptions(),
        Prompting("?"),
        Sampling(**sampling),
        Scheme(),
        blend=blend,
        seed=1,
        sequence_id=id_,
    )


def queue_of(*found: Request | Failed | None) -> Queue:
    queue = Queue()
    queue.source = iter(found)
    return queue


def ids(queue: Queue) -> list[int | str | None]:
    """Of all that wait, in order."""
    found = []
    while len(queue):
        found.append(queue.take(queue.oldest).sequence_id)
    return found


def test_what_is_there_is_taken_and_no_more() -> None:
    queue = queue_of(request("a"), None, request("b"), request("c"), request("d"))
    assert not list(queue.read(3))
    assert (len(queue), queue.source_idle) == (1, True)
    assert not list(queue.read(3))
    assert (len(queue), queue.source_idle) == (3, False)
    assert not list(queue.read(9))
    assert (len(queue), queue.source_idle) == (4, False)
    assert ids(queue) == ["a", "b", "c", "d"]


def test_an_empty_queue_waits_for_a_request_and_takes_what_comes_with_it() -> None:
    queue = queue_of(None, None, request("a"), request("b"), None, request("c"))
    assert not list(queue.read(9, wait=True))
    assert len(queue) == 2
    assert not list(queue.read(9, wait=True))  # some wait: there is something to do
    assert ids(queue) == ["a", "b", "c"]


def test_an_end_is_not_waited_for() -> None:
    queue = queue_of(None, None)
    assert not list(queue.read(9, wait=True))
    assert not queue.source_idle


def test_a_failure_is_passed_on_while_no_request_has_come() -> None:
    failure = Failed("x", "bad_value", MpgError("wrong"))

    def source() -> Iterator[Request | Failed | None]:
        yield failure
        raise AssertionError("asked again before the failure was passed on")

    queue = Queue()
    queue.source = source()
    assert next(queue.read(9, wait=True)) is failure


def test_a_closed_queue_does_not_wait() -> None:
    def source() -> Iterator[Request | Failed | None]:
        yield None
        queue.closed = True
        while True:
            yield None

    queue = Queue()
    queue.source = source()
    assert not list(queue.read(9, wait=True))


def test_requests_of_one_key_share_blend_and_sampling_but_not_their_limit() -> None:
    found = (
        request("a"),
        request("b", CALM),
        request("c", max_tokens=3, stop=("x",)),
        request("d", temperature=0.5),
        request("e", Blend("calm", ())),
    )
    queue = queue_of(*found)
    assert not list(queue.read(9))
    plain = queue.oldest
    assert queue.count(plain) == 2
    assert [queue.take(plain).sequence_id, queue.take(plain).sequence_id] == ["a", "c"]
    assert queue.count(plain) == 0
    assert queue.first(plain) is None
    assert queue.oldest.blend == CALM
    assert ids(queue) == ["b", "d", "e"]


def test_what_is_put_back_goes_before_all_others() -> None:
    queue = queue_of(request("a"), request("b", CALM), request("c"))
    assert not list(queue.read(9))
    plain = queue.oldest
    taken = [queue.take(plain), queue.take(plain)]
    assert queue.oldest.blend == CALM
    queue.put_back([*taken, request("d", CALM)], alone=["c"])
    assert (queue.oldest, queue.count(plain)) == (plain, 1)
    assert queue.take(plain) == taken[0]
    assert queue.oldest == plain._replace(alone=True)
    queue.closed = True
    assert queue.first(queue.oldest) is None
    assert ids(queue) == ["c", "d", "b"]
