"""Many requests on one engine: a reply is that of an engine of its own, whatever else runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.core import Handle
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished, Notice, Round, Started
from mpg_cli.engine.request import Request
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import Scheme, Threshold
from tests.support.requests import answer, finished, ids, one, passes, running, short, sizes, texts
from tests.support.steps import models_of_passes
from tests.support.world import CONTEXT, set_context

SCHEMES = [Scheme(drafter="merged", chunk_size=3), Scheme(drafter="lookup"), Scheme(drafter="none")]


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_model(str(world / "base"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def fast(world: Path) -> LoadedModel:
    """The same model, accelerated: the prompts of several rows share passes."""
    return load_prepared(ModelOptions(str(world / "base"), device="cpu", dtype="float32"))


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
    """What an engine of its own says to each of the mixed requests."""
    return {str(request.sequence_id): finished(request).text for request in mixed(world)}


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.drafter)
def test_under_exact_a_reply_is_that_of_an_engine_of_its_own(
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
    events = answer(loaded, mixed(world, Scheme(drafter="merged")), 4)
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


def various(world: Path) -> list[Request]:
    """Requests that have nothing in common: blends, targets, rules, ways of sampling, prompts."""
    greedy = {"temperature": 0.0}
    warped = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.2}
    several = Threshold(candidates=3)
    wishes: list[tuple[str, Scheme, dict[str, Any]]] = [
        ("bold+calm:0.5", Scheme(), {}),
        ("bold:-0.4", Scheme(), greedy),
        ("terse+calm", Scheme("mixture"), warped),
        ("both+terse", Scheme(rule="block"), {}),
        ("calm", Scheme("mixture", rule="threshold"), {"frequency_penalty": 0.5}),
        ("bold:0.5+calm:2", Scheme(rule="threshold", threshold=several), {}),
        ("full+calm", Scheme(), {"min_p": 0.1}),
        ("bold+calm:0.5", Scheme(), {"logit_bias": ((65, 3.0),)}),
    ]
    return [
        one(world, n, "word " * (1 + 3 * n), personas, scheme=scheme, seed=n, **sampling)
        for n, (personas, scheme, sampling) in enumerate(wishes)
    ]


def test_requests_that_have_nothing_in_common_share_passes(world: Path, fast: LoadedModel) -> None:
    """As many passes as the longest reply has rounds; the prompts are so short that all are read at first.

    One more, where the prompt of the checkpoint is read after those of the other rows.
    """
    requests = [
        replace(r, scheme=replace(r.scheme, drafter="none"), prompting=Prompting("word"))
        for r in various(world)
    ]
    made = 0

    def count(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        nonlocal made
        made += tokens.shape[1] == 1

    alone, rounds = {}, []
    with passes(fast, count):
        for request in requests:
            events = answer(fast, [request], 1)
            alone |= texts(events)
            rounds.append(len(running(events)))
        assert made == sum(rounds)
        made = 0
        assert texts(answer(fast, requests, len(requests))) == alone
    assert made in (max(rounds), max(rounds) + 1)
    assert sum(rounds) > 6 * max(rounds)


@pytest.mark.parametrize("drafter", ["merged", "lookup", "reference", "folded", "model"])
def test_drafts_of_what_has_nothing_in_common_change_no_text(
    world: Path, loaded: LoadedModel, drafter: str
) -> None:
    """Beside requests with other drafters and rules."""
    drafter = f"model:{world / 'smaller'}" if drafter == "model" else drafter
    exact = [
        replace(r, scheme=replace(r.scheme, drafter=drafter, chunk_size=3))
        for r in various(world)
        if r.scheme.rule == "exact"
    ]
    others = [r for r in various(world) if r.scheme.rule != "exact"]
    plain = [replace(r, scheme=replace(r.scheme, drafter="none")) for r in exact]
    expected = texts(answer(loaded, plain, 1))
    found = texts(answer(loaded, [*others, *exact], 6))
    assert {id_: found[id_] for id_ in expected} == expected


def test_prompts_that_begin_together_are_read_together(world: Path, fast: LoadedModel) -> None:
    """Short ones; the rows of all share a pass."""
    rows: list[int] = []

    def note(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        if tokens.shape[1] > 1:
            rows.append(len(tokens))

    requests = [one(world, n, f"{n} word", scheme=Scheme(drafter="none"), max_tokens=4) for n in range(12)]
    with passes(fast, note):
        answer(fast, requests, 12)
    assert rows == [36]


def test_equal_rows_read_a_prompt_once(world: Path, loaded: LoadedModel) -> None:
    """The reference and `calm` of two blends, the samples of a request."""
    scheme = Scheme(drafter="none")
    engine = Engine(loaded)
    asked = one(world, None, "Hello", "bold+calm", scheme=scheme)
    list(engine.replies(replace(asked, samples=5), one(world, None, "Hello", "calm:0.3", scheme=scheme)))
    length = len("<user>Hello</><assistant>") - 1
    assert engine.read_tokens == 3 * length
    assert engine.prompt_tokens == (5 * 3 + 2) * length


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
        answer(replace(loaded, tokenizer=counting), short(world), size)
        assert counting.texts == 40


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
        yield from [None] * 6  # longer than reading the prompts takes


def test_a_slow_source_keeps_no_reply_waiting(world: Path, loaded: LoadedModel) -> None:
    asked: list[int | str | None] = []
    done: list[int | str | None] = []

    def source() -> Iterator[Request | None]:
        for request in short(world, 4):
            asked.append(request.sequence_id)
            yield request
            while request.sequence_id not in done:  # the next one comes when this one is answered
                yield None

    for event in Engine(loaded, batch_size=8).run(source()):
        if isinstance(event, Finished):
            assert asked[-1] == event.sequence
            done.append(event.sequence)
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.drafter)
def test_late_requests_join_those_that_run(world: Path, loaded: LoadedModel, scheme: Scheme) -> None:
    requests = short(world, scheme=scheme)
    first = [request for request in requests if (request.sampling.max_tokens or 0) > 10][:2]
    rest = [request for request in requests if request not in first]
    events = answer(loaded, slow([first, rest[:1], rest[1:]]), 8)
    assert texts(events) == texts(answer(loaded, requests, 1))
    took_part = running(events)
    assert took_part[0] < max(took_part) == 8


def test_a_short_reply_does_not_wait_for_the_end_of_a_long_one(world: Path, loaded: LoadedModel) -> None:
    long = one(world, "long", max_tokens=60)
    late = [one(world, n, max_tokens=2) for n in range(12)]
    assert ids(answer(loaded, slow([[long], late]), 4))[-1] == "long"


def test_late_requests_of_one_blend_find_its_weights_as_they_are(world: Path, loaded: LoadedModel) -> None:
    requests = short(world, 5, scheme=Scheme(drafter="folded"))
    with models_of_passes() as models:
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


# -- steps ------------------------------------------------------------------------------------------


def test_a_cancelled_reply_frees_its_slot_in_the_same_step(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded, batch_size=1)
    first = engine.submit(one(world, "first", max_tokens=50))
    second = engine.submit(one(world, "second", max_tokens=3))
    while not first.begun:
        engine.step()
    assert not second.begun
    engine.cancel(first)
    events = engine.step()
    assert second.begun
    ended = [event for handle, event in events if handle is first]
    assert [type(event) for event in ended][-1] is Finished
    assert ended[-1].finish_reason == "interrupted"  # type: ignore[union-attr]
    while engine.busy:
        events += engine.step()
    assert [event.sequence for _, event in events if isinstance(event, Finished)] == ["first", "second"]


def test_a_request_can_be_cancelled_without_events(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded, batch_size=2)
    handles = [engine.submit(one(world, n, max_tokens=30)) for n in range(4)]
    engine.step()
    for handle in handles[1:3]:  # one runs, one waits
        engine.cancel(handle, None)
    found: dict[Handle | None, list[object]] = {}
    while engine.busy:
        for handle, event in engine.step():
            found.setdefault(handle, []).append(event)
    assert not found.keys() & set(handles[1:3])
    expected = {n: finished(one(world, n, max_tokens=30)).text for n in (0, 3)}
    for n in (0, 3):
        (end,) = [event for event in found[handles[n]] if isinstance(event, Finished)]
        assert end.text == expected[n]


def test_a_long_prompt_delays_the_others_by_one_block_a_round(world: Path) -> None:
    """Blocks of 512 tokens over all rows: while 3 rows of a prompt of 1,500 are read, a short reply gets a
    round after every block.
    """
    set_context(world, 4000)
    try:
        loaded = load_model(str(world / "base"), device="cpu", dtype="float32")
    finally:
        set_context(world, CONTEXT)
    block = 512
    own: dict[str, Any] = {"scheme": Scheme(drafter="none"), "logit_bias": ((256, -100.0),)}
    made: list[tuple[int, int]] = []  # rows and positions of each pass

    def note(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        made.append((tokens.shape[0], tokens.shape[1]))

    engine = Engine(loaded, batch_size=2)
    short = engine.submit(one(world, "short", max_tokens=40, **own))
    while not any(isinstance(event, Round) for _, event in engine.step()):
        pass
    long = engine.submit(one(world, "long", "long " * 300, max_tokens=2, **own))
    with passes(loaded, note):
        events = []
        while engine.busy:
            made.clear()
            events += engine.step()
            reads = [rows * positions for rows, positions in made if positions > 1]
            assert len(reads) <= 1
            assert sum(reads) <= block
            assert len(made) - len(reads) == 1  # the round
    rounds = [event for handle, event in events if handle is short and isinstance(event, Round)]
    begun = [place for place, (own, event) in enumerate(events) if own is long and isinstance(event, Round)]
    before = sum(own is short and isinstance(event, Round) for own, event in events[: begun[0]])
    assert len(rounds) == 39
    assert 8 <= before <= 12  # 4,500 tokens in blocks of 512
    ends = {event.sequence: event.text for _, event in events if isinstance(event, Finished)}
    assert ends["short"] == finished(one(world, "short", max_tokens=40, **own)).text


def test_prompts_of_those_that_wait_are_read_together(world: Path, fast: LoadedModel) -> None:
    """Twelve requests in two slots: their prompts take a few passes, not two for each of them."""
    reads: list[int] = []

    def note(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        if tokens.shape[1] > 9:  # longer than any chunk
            reads.append(tokens.numel())

    asked = [
        one(world, n, f"{n:02d} " + "word " * 4, scheme=Scheme(drafter="merged", chunk_size=2))
        for n in range(12)
    ]
    expected = {each.sequence_id: finished(each).text for each in asked}
    with passes(fast, note):
        events = answer(fast, asked, 2)
    assert texts(events) == expected
    assert 2 <= len(reads) <= 8


# -- several loops ----------------------------------------------------------------------------------


def test_two_streams_in_turns_each_have_their_reply(world: Path, loaded: LoadedModel) -> None:
    """They share passes, and each gets its own events; closing one leaves the other."""
    asked = [one(world, 0, "Hello", "bold"), one(world, 0, "Bye", "terse+calm", max_tokens=20)]
    expected = [finished(each).text for each in asked]
    engine = Engine(loaded, batch_size=4)
    streams = [engine.replies(each) for each in asked]
    third = engine.replies(one(world, 0, "Never mind", max_tokens=90))
    found: list[list[Event]] = [[], []]
    live = set(range(2))
    while live:
        next(third, None)
        for n in sorted(live):
            event = next(streams[n], None)
            if event is None:
                live.remove(n)
            else:
                found[n].append(event)
    third.close()  # type: ignore[attr-defined]
    for events, text in zip(found, expected, strict=True):
        kinds = [type(event) for event in events if not isinstance(event, Notice)]
        assert (kinds[0], kinds[-1], kinds.count(Finished)) == (Started, Finished, 1)
        assert events[-1].text == text  # type: ignore[union-attr]
    assert not [event for event in engine.step() if isinstance(event.event, Finished)]
    assert not engine.busy


def test_a_run_and_submitted_requests_share_an_engine(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded, batch_size=3)
    handle = engine.submit(one(world, "mine", max_tokens=30))
    events = list(engine.run(iter(short(world, 6))))
    assert set(texts(events)) == set(range(6))
    mine = list[object]()
    while engine.busy:
        mine += [event for own, event in engine.step() if own is handle]
    mine += [event for own, event in engine.step() if own is handle]
    (end,) = [event for event in mine if isinstance(event, Finished)]
    assert end.text == finished(one(world, "mine", max_tokens=30)).text


def test_a_run_begins_whatever_others_have_queued(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded, batch_size=1)
    queued = [engine.submit(one(world, f"queued {n}", max_tokens=2)) for n in range(3)]
    mine = engine.run(iter([one(world, "mine", max_tokens=2)]))
    assert [event.sequence for event in mine if isinstance(event, Finished)] == ["mine"]
    assert not any(handle.left for handle in queued), "they came first"
