"""An engine between threads: some submit, cancel and read replies while one steps, or all of them do."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest

from mpg_cli.engine.core import Handle
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import EngineEvent, Event, Failed, Finished, Round, Started, Text
from mpg_cli.engine.request import Request
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from tests.support.requests import answer, one

COUNT = 200
BLENDS = ("bold+calm:0.5", "terse", "calm:-0.4", "terse+bold")


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_prepared(ModelOptions(str(world / "base"), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def asked(world: Path) -> list[Request]:
    """Twenty requests of several blends, lengths and ways of sampling."""
    return [
        one(
            *(world, n, "word" * (1 + n % 5), BLENDS[n % 4]),
            seed=n,
            max_tokens=4 + 3 * n % 17,
            temperature=(0.5, 1.0)[n % 2],
        )
        for n in range(20)
    ]


@pytest.fixture(scope="module")
def alone(loaded: LoadedModel, asked: list[Request]) -> dict[int | str, Finished]:
    """The reply to each of them where nothing else runs."""
    return {e.sequence: e for e in answer(loaded, asked, 1) if isinstance(e, Finished)}


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_requests_are_submitted_and_cancelled_while_another_thread_steps(
    loaded: LoadedModel, asked: list[Request], alone: dict[int | str, Finished]
) -> None:
    """At random times. None is lost, none ends twice, no reply depends on what comes and goes beside it."""
    engine, chance = Engine(loaded, batch_size=8), random.Random(5)
    handles: list[Handle] = []
    cancelled: dict[Handle, str] = {}

    def client() -> None:
        for n in range(COUNT):
            handles.append(engine.submit(asked[n % len(asked)]))
            if chance.random() < 0.4:
                sleep(chance.random() / 50)
            if chance.random() < 0.3:
                handle = chance.choice(handles)
                how = cancelled.setdefault(handle, chance.choice(("reason", "silent")))
                engine.cancel(handle, "interrupted" if how == "reason" else None)

    thread = started(client)
    events: dict[Handle, list[EngineEvent]] = defaultdict(list)
    while thread.is_alive() or engine.busy:
        for handle, event in engine.step():
            if handle is not None:
                events[handle].append(event)
    assert len(set(handles)) == COUNT
    whole, cut = 0, 0
    for handle in handles:
        found, expected = events.pop(handle, []), alone[handle.request.sequence_id or 0]
        ends = [event for event in found if isinstance(event, Finished)]
        assert not [event for event in found if isinstance(event, Failed)]
        assert len(ends) <= 1
        assert handle.left == 0
        if ends:
            assert found[-1] is ends[0]
            assert isinstance(found[0], Started)
            assert ends[0].text == "".join(event.text for event in found if isinstance(event, Text))
        if handle not in cancelled or (ends and ends[0].finish_reason != "interrupted"):
            assert ends[0].text == expected.text
            whole += 1
        elif ends:
            assert cancelled[handle] == "reason"
            assert ends[0].token_ids == expected.token_ids[: len(ends[0].token_ids)]
            cut += 1
        else:
            assert cancelled[handle] == "silent" or not found
    assert not events
    assert whole > COUNT / 2
    assert cut > 0


def test_several_threads_read_their_replies_from_one_engine(
    loaded: LoadedModel, asked: list[Request], alone: dict[int | str, Finished]
) -> None:
    """Each steps for all when its turn comes, and gets its own events in order."""
    engine = Engine(loaded, batch_size=6)
    found: dict[int, list[Event]] = {}

    def client(place: int) -> None:
        events = found[place] = list[Event]()
        for request in asked[place::5]:
            events.extend(engine.replies(request))

    threads = [started(lambda place=place: client(place)) for place in range(5)]  # type: ignore[misc]
    for thread in threads:
        thread.join(120)
    replies = [event for events in found.values() for event in events if isinstance(event, Finished)]
    assert {own.sequence: own.text for own in replies} == {n: own.text for n, own in alone.items()}
    assert len(replies) == len(asked)
    for events in found.values():
        order = [event.sequence for event in events if isinstance(event, Started | Round | Text | Finished)]
        assert order == sorted(order, key=order.index)
    assert not engine.busy
