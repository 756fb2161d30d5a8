"""Continuous batching on a tiny model: a reply is that of a session of its own, whatever else runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.events import Finished, Notice
from mpg_cli.engine.request import Request
from mpg_cli.engine.scheduler import Scheduler
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import Scheme, Threshold
from tests.support.requests import answer, finished, ids, one, passes, running, short, sizes, texts

SCHEMES = [Scheme(), Scheme(drafter="lookup"), Scheme(drafter="none")]


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_model(str(world / "base"), device="cpu", dtype="float32")


def mixed(world: Path, scheme: Scheme | None = None) -> list[Request]:
    """Requests of several blends, lengths, laws and seeds."""
    wishes: list[dict[str, Any]] = [
        {},
        {"max_tokens": 3},
        {"personas": "terse"},
        {},
        {"temperature": 0.5},
        {"personas": "terse+calm:0.5", "seed": 99},
        {},
        {"personas": "terse"},
        {"stop": ("a",)},
        {},
        {"max_tokens": 40},
        {"temperature": 0.5, "top_p": 0.9},
    ]
    return [
        one(world, f"line-{n}", "word " * (1 + 5 * n % 17), scheme=scheme, **wish)
        for n, wish in enumerate(wishes)
    ]


@pytest.fixture(scope="module")
def alone(world: Path) -> dict[int | str, str]:
    """What a session of its own says to each of the mixed requests."""
    return {str(request.sequence_id): finished(request).text for request in mixed(world)}


@pytest.fixture(scope="module")
def short_alone(world: Path, loaded: LoadedModel) -> dict[int | str, str]:
    """The replies to the short prompts, one at a time."""
    return texts(answer(loaded, short(world), 1))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.drafter)
def test_under_exact_a_reply_is_that_of_a_session_of_its_own(
    world: Path, loaded: LoadedModel, alone: dict[int | str, str], size: int, scheme: Scheme
) -> None:
    requests = mixed(world, scheme)
    random.Random(size).shuffle(requests)
    assert texts(answer(loaded, requests, size)) == alone


@pytest.mark.parametrize(
    "scheme",
    [Scheme(rule="block"), Scheme(rule="threshold", threshold=Threshold(candidates=2, ahead=2))],
    ids=lambda scheme: scheme.rule,
)
def test_other_rules_do_not_depend_on_the_batch_either(
    world: Path, loaded: LoadedModel, scheme: Scheme
) -> None:
    requests = mixed(world, scheme)
    assert texts(answer(loaded, requests, 1)) == texts(answer(loaded, requests, 4))


def test_a_reply_has_its_spec(world: Path, loaded: LoadedModel) -> None:
    events = answer(loaded, mixed(world), 4)
    found = {event.sequence: event.spec for event in events if isinstance(event, Finished)}
    assert found["line-5"].seed == 99
    assert found["line-5"].persona == "terse+calm:0.5"
    assert found["line-1"].sampling.max_tokens == found["line-1"].max_tokens == 3
    assert found["line-0"].scheme.drafter == "merged"


def test_prompts_really_run_together(world: Path, loaded: LoadedModel) -> None:
    scheme = Scheme(drafter="none")
    requests = [one(world, n, scheme=scheme, max_tokens=4 + n) for n in range(12)]
    took_part = running(answer(loaded, requests, 4))
    # A finished sequence is replaced at once: the batch is full until the queue is empty.
    assert set(took_part[: len(took_part) // 2]) == {4}


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.drafter)
def test_short_prompts_are_prefilled_ahead_and_say_the_same(
    world: Path, loaded: LoadedModel, short_alone: dict[int | str, str], scheme: Scheme
) -> None:
    assert texts(answer(loaded, short(world, scheme=scheme), 12)) == short_alone


@pytest.mark.parametrize("drafter", ["lookup", "none"])
def test_short_prompts_share_their_prefill_and_long_ones_do_not(
    world: Path, drafter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of passes that are no rounds; these drafters have none of their own."""
    monkeypatch.setenv("MPG_FAST", "1")
    loaded = load_prepared(ModelOptions(str(world / "base"), device="cpu", dtype="float32"))
    scheme = Scheme(drafter=drafter)

    def prefills(prompt: str) -> int:
        requests = [
            one(world, n, f"{n} {prompt}", scheme=scheme, max_tokens=2 + 5 * n % 11) for n in range(40)
        ]
        made = 0

        def count(module: torch.nn.Module, tokens: torch.Tensor) -> None:
            nonlocal made
            made += 1

        with passes(loaded, count):
            rounds = len(running(answer(loaded, requests, 12)))
        return made - rounds

    # Twelve at first, then six a pass (half of the batch), the last four; a few more where many are free.
    assert prefills("word") <= 10
    assert prefills("word" * 16) > 10


def test_no_prompt_is_rendered_twice(world: Path, loaded: LoadedModel) -> None:
    class Counting:
        """The tokenizer, counting the texts that it is given."""

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.texts = tokenizer, 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.texts += 1
            return self.tokenizer(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

    for size in (1, 8):
        counting = Counting(loaded.tokenizer)
        answer(replace(loaded, tokenizer=counting), short(world, 20), size)
        assert counting.texts == 20


def test_experts_are_read_once_and_give_way(world: Path, loaded: LoadedModel) -> None:
    class Counting(ExpertCache):
        """A cache that counts what it loads."""

        loads = 0

        def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
            def counted() -> Any:
                self.loads += 1
                return load()

            return super().get(key, counted)

    turns = [one(world, n, "a", ("bold", "calm")[n % 2]) for n in range(20)]
    cache = Counting()
    answer(loaded, turns, 2, cache=cache)
    assert cache.loads == 2
    small = Counting(1)
    answer(loaded, turns, 1, cache=small)
    assert len(small) == 1
    assert small.loads > 2


def test_a_notice_is_reported_once_per_run(world: Path, loaded: LoadedModel) -> None:
    adapters = "adapters: [{base: other/Model-7B, path: bold}]"
    (world / "away.yaml").write_text(f"name: away\nprompt: Be away.\n{adapters}\n")
    try:
        requests = [
            one(world, f"{heat} {n}", "a", personas, temperature=heat)
            for heat in (0.5, 1.0)
            for n, personas in enumerate(("away", "away+calm", "away"))
        ]
    finally:
        (world / "away.yaml").unlink()
    notices = [event.message for event in answer(loaded, requests, None) if isinstance(event, Notice)]
    assert len([text for text in notices if "using the system prompt: away" in text]) == 1
    assert len(set(notices)) == len(notices)


def test_auto_chooses_a_size_and_gives_the_reason(world: Path, loaded: LoadedModel) -> None:
    assert sizes(answer(loaded, short(world, 2), None)) == [32]


# -- a source that is slow --------------------------------------------------------------------------


def slow(turns: Sequence[Sequence[Request]]) -> Iterator[Request | None]:
    """Requests that come turn by turn; after each turn there are none for a while."""
    for turn in turns:
        yield from turn
        yield from [None, None]


def test_a_slow_source_keeps_no_reply_waiting(world: Path, loaded: LoadedModel) -> None:
    asked: list[int | str | None] = []
    done: list[int | str | None] = []

    def source() -> Iterator[Request | None]:
        for request in short(world, 4):
            asked.append(request.sequence_id)
            yield request
            while request.sequence_id not in done:  # the next one comes when this one is answered
                yield None

    for event in Scheduler(loaded, batch_size=8).run(source()):
        if isinstance(event, Finished):
            assert asked[-1] == event.sequence
            done.append(event.sequence)
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.drafter)
def test_a_group_that_began_small_makes_room_for_more(
    world: Path, loaded: LoadedModel, short_alone: dict[int | str, str], scheme: Scheme
) -> None:
    requests = short(world, scheme=scheme)
    first = [request for request in requests if (request.sampling.max_tokens or 0) > 10][:2]
    rest = [request for request in requests if request not in first]
    events = answer(loaded, slow([first, rest[:1], rest[1:]]), 8)
    assert texts(events) == short_alone
    took_part = running(events)
    assert took_part[0] == 2
    assert max(took_part) == 8


def test_a_short_reply_does_not_wait_for_the_end_of_a_long_one(world: Path, loaded: LoadedModel) -> None:
    long = one(world, "long", max_tokens=60)
    late = [one(world, n, max_tokens=2) for n in range(12)]
    assert ids(answer(loaded, slow([[long], late]), 4))[-1] == "long"


def test_late_requests_of_one_blend_find_its_weights_as_they_are(world: Path, loaded: LoadedModel) -> None:
    models: dict[int, torch.nn.Module] = {}  # kept, so that no other has the address of one that is gone

    def note(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        models[id(module)] = module  # the folded copy has the hook of its model

    requests = short(world, 5, scheme=Scheme(drafter="folded"))
    with passes(loaded, note):
        events = answer(loaded, slow([[request] for request in requests]), 4)
    assert len(texts(events)) == 5
    assert len(models) == 2


def test_others_have_their_turn_while_requests_keep_coming(world: Path, loaded: LoadedModel) -> None:
    mine = [one(world, n, max_tokens=4) for n in range(40)]
    other = one(world, "other", personas="terse", max_tokens=4)

    def source() -> Iterator[Request | None]:
        """There are always requests of mine."""
        for place, request in enumerate([*mine[:4], other, *mine[4:]]):
            yield request
            if place > 4 and place % 3 == 0:
                yield None

    order = ids(answer(loaded, source(), 2))
    assert len(order) == 41
    assert order.index("other") <= 8


def test_a_request_waits_for_few_slow_ones_of_another_group(world: Path, loaded: LoadedModel) -> None:
    """Mine overlap, so that their group never stands empty, and one other waits from the start."""
    scheme = Scheme(drafter="none")
    mine = [one(world, n, scheme=scheme, max_tokens=30) for n in range(12)]
    other = one(world, "other", personas="terse", scheme=scheme, max_tokens=4)

    def source() -> Iterator[Request | None]:
        yield from (mine[0], other)
        for request in mine[1:]:
            yield request
            yield from [None] * 8

    order = ids(answer(loaded, source(), 8))
    assert len(order) == 13
    assert order.index("other") <= 2
