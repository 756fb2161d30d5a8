"""What fails where many run: the request that it comes from. Nothing is lost, nothing begins after a stop."""

from __future__ import annotations

import copy
import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine import blends
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Failed, Finished, Round, Started, Text
from mpg_cli.engine.request import Request
from mpg_cli.errors import ModelError, MpgError
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.sampling.params import Scheme
from tests.support.requests import answer, failures, one, passes, short, sizes, texts

END = 256  # the end token
ROWS = 3  # of a request: the reference and two experts
SICK = "~"  # a prompt with this byte makes the sick model return NaN


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_model(str(world / "base"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def sick(loaded: LoadedModel) -> LoadedModel:
    """The same model, but for the embedding of one byte, which is NaN."""
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        (token,) = loaded.tokenizer(SICK, add_special_tokens=False)["input_ids"]
        model.get_input_embeddings().weight[token] = torch.nan
    return replace(loaded, model=model)


@pytest.fixture(scope="module")
def whole(world: Path, loaded: LoadedModel) -> dict[int | str, str]:
    """The replies to the short prompts where nothing fails."""
    return texts(answer(loaded, short(world), 8))


class Scarce:
    """A hook that lets memory run out: in passes of more than `rows` rows, or once, in the `at`-th pass."""

    def __init__(self, *, rows: int | None = None, at: int | None = None) -> None:
        self.rows, self.at, self.made = rows, at, 0

    def __call__(self, module: torch.nn.Module, tokens: torch.Tensor) -> None:
        self.made += 1
        if self.made == self.at:
            raise MemoryError
        if self.rows is not None and len(tokens) > self.rows:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def test_only_the_request_that_nan_comes_from_fails(
    world: Path, sick: LoadedModel, whole: dict[int | str, str]
) -> None:
    """It ran beside others, and others get its slot and its rows."""
    requests = short(world)
    for place in (3, 12, 20):
        requests[place] = one(world, place, "word" + SICK)
    events = answer(sick, requests, 8)
    assert sorted(failures(events)) == [(n, "numerics") for n in (3, 12, 20)]
    failed = [event for event in events if isinstance(event, Failed)]
    assert all("NaN in the row of reference" in event.error.message for event in failed)
    assert texts(events) == {id_: text for id_, text in whole.items() if id_ not in (3, 12, 20)}


def test_nan_in_a_prompt_does_not_reach_those_that_begin_like_it(
    world: Path, loaded: LoadedModel, sick: LoadedModel
) -> None:
    """Lines of several lengths copy the beginning that they share with it, before and after it fails."""
    ill = (3, 4, 11, 18)

    def asked(n: int) -> Request:
        middle = SICK if n in ill else "-"
        return one(world, n, f"The same begin {middle} {'tail ' * (n % 5)}", max_tokens=3 + n % 4)

    requests = [asked(n) for n in range(24)]
    expected = texts(answer(loaded, [each for n, each in enumerate(requests) if n not in ill], 3))
    events = answer(sick, requests, 3)
    assert sorted(failures(events)) == [(n, "numerics") for n in ill]
    assert texts(events) == expected


def test_nan_in_the_middle_of_a_reply_fails_it_alone(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str]
) -> None:
    """In one row of one of the passes, whichever sequence has it."""
    made = 0

    def spoil(module: torch.nn.Module, args: object, output: Any) -> None:
        nonlocal made
        made += 1
        if made == 40:
            output.logits[1] = torch.nan

    handle = loaded.model.register_forward_hook(spoil)
    try:
        events = answer(loaded, short(world), 8)
    finally:
        handle.remove()
    ((id_, code),) = failures(events)
    assert code == "numerics"
    assert texts(events) == {n: text for n, text in whole.items() if n != id_}


@pytest.mark.parametrize("at", [1, 3, 12, 13, 14, 20])
def test_without_memory_fewer_run_together_and_nothing_is_lost(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str], at: int
) -> None:
    """Wherever it runs out: where prompts are read, in a draft, or where it is scored. Texts go on."""
    with passes(loaded, Scarce(at=at)):
        events = answer(loaded, short(world), 8)
    assert sizes(events) == [4]
    assert texts(events) == whole
    assert all(e.stats.seconds.prefill > 0 for e in events if isinstance(e, Finished))


def test_the_batch_halves_until_it_fits(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str]
) -> None:
    with passes(loaded, Scarce(rows=2 * ROWS)):
        events = answer(loaded, short(world), 8)
    assert sizes(events) == [4, 2]
    assert texts(events) == whole


def test_a_reply_that_has_begun_goes_on_where_it_was(world: Path, loaded: LoadedModel) -> None:
    """It is read again with what it has; no token and no event comes twice."""
    asked = [one(world, n, "word" * (1 + n), max_tokens=30, scheme=Scheme(drafter="none")) for n in range(2)]
    expected = texts(answer(loaded, asked, 2))
    engine, events = Engine(loaded, batch_size=2), list[Any]()
    handles = [engine.submit(request) for request in asked]
    while sum(isinstance(event, Round) for event in events) < 20:
        events += [event for _, event in engine.step()]
    with passes(loaded, Scarce(at=1)):
        events += [event for _, event in engine.step()]
    assert sizes(events) == [1]
    assert all(handle.left for handle in handles)
    while engine.busy:
        events += [event for _, event in engine.step()]
    for n in range(2):
        own = [event for event in events if getattr(event, "sequence", None) == n]
        tokens = [token for event in own if isinstance(event, Round) for token in event.tokens]
        end = own[-1]
        assert [type(event) for event in (own[0], end)] == [Started, Finished]
        assert sum(isinstance(event, Started | Finished) for event in own) == 2
        assert end.text == expected[n] == "".join(event.text for event in own if isinstance(event, Text))
        assert end.stats.committed == len(tokens)
        assert end.token_ids == tuple(token for token in tokens if token != END)


def test_a_request_that_does_not_fit_the_memory_fails_alone(world: Path, loaded: LoadedModel) -> None:
    """Its passes are too long, even where it runs alone; the others are answered."""
    asked = short(world, 4)
    expected = texts(answer(loaded, asked, 2))

    def scarce(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        if tokens.shape[1] > 60:
            raise MemoryError

    with passes(loaded, scarce):
        events = answer(loaded, [asked[0], one(world, "long", "long" * 20), *asked[1:]], 4)
    assert failures(events) == [("long", "no_memory")]
    assert texts(events) == expected
    with passes(loaded, Scarce(rows=0)), pytest.raises(ModelError, match="not enough memory for one prompt"):
        list(Engine(loaded).replies(asked[0]))


@pytest.mark.parametrize("now", [False, True])
def test_stopping_ends_the_running_replies_or_drops_them(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str], now: bool
) -> None:
    engine = Engine(loaded, batch_size=3)
    events = []
    for event in engine.run(iter(short(world))):
        events.append(event)
        if isinstance(event, Finished):
            engine.stop(now=now)
    done = len(texts(events))
    assert done < 40
    assert (done == 1) if now else (done >= 2)

    assert not engine.busy
    assert texts(list(engine.run(iter(short(world, 5))))) == {n: whole[n] for n in range(5)}


def test_what_runs_when_a_stop_comes_ends_and_no_more(world: Path, loaded: LoadedModel) -> None:
    engine, ended = Engine(loaded, batch_size=8), 0
    for event in engine.run(iter(short(world))):
        ended += isinstance(event, Finished)
        if ended == 12:
            engine.stop()
    assert 12 < ended <= 12 + 8


def test_a_run_that_is_closed_leaves_nothing_behind(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded, batch_size=3)
    for event in engine.run(iter(short(world))):
        if isinstance(event, Finished):
            break
    assert [event for _, event in engine.step() if isinstance(event, Finished | Failed)] == []
    assert not engine.busy


def test_other_errors_are_not_hidden(world: Path, loaded: LoadedModel) -> None:
    def broken(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        raise RuntimeError("a bug")

    with passes(loaded, broken), pytest.raises(RuntimeError, match="a bug"):
        answer(loaded, short(world, 4))


def test_an_interrupted_pass_fails_the_other_streams_and_the_engine_goes_on(
    world: Path, loaded: LoadedModel
) -> None:
    asked = one(world, 0, max_tokens=30)
    engine, expected = Engine(loaded, batch_size=2), texts(answer(loaded, [asked], 1))[0]
    streams = [engine.replies(asked), engine.replies(replace(asked, sequence_id=1))]
    for stream in streams:
        next(event for event in stream if isinstance(event, Round))

    def interrupt(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with passes(loaded, interrupt), pytest.raises(KeyboardInterrupt):
        list(streams[0])
    with pytest.raises(ModelError, match="cut short by an error"):
        list(streams[1])
    (end,) = [event for event in engine.replies(asked) if isinstance(event, Finished)]
    assert end.text == expected
    assert engine.left == 0


def test_a_prompt_that_is_too_long_fails_alone(world: Path, loaded: LoadedModel) -> None:
    events = answer(loaded, [one(world, 0, "a"), one(world, 1, "long " * 60), one(world, 2, "b")])
    assert failures(events) == [(1, "too_long")]
    assert set(texts(events)) == {0, 2}


def test_a_blend_that_cannot_be_loaded_fails_its_requests_only(world: Path, loaded: LoadedModel) -> None:
    (world / "broken.yaml").write_text("name: broken\nadapters: [{base: base, path: nowhere}]\n")
    try:
        requests = [one(world, 0, "a", "broken"), one(world, 1, "b"), one(world, 2, "c", "broken")]
    finally:
        (world / "broken.yaml").unlink()
    events = answer(loaded, requests)
    assert failures(events) == [(0, "bad_persona"), (2, "bad_persona")]
    assert set(texts(events)) == {1}


def test_a_failure_of_the_source_is_passed_on(world: Path, loaded: LoadedModel) -> None:
    failure = Failed("x", "bad_value", MpgError("wrong"))
    events = answer(loaded, [failure, one(world, 0)])
    assert events[0] is failure
    assert set(texts(events)) == {0}


def test_a_check_is_made_before_any_work(world: Path, loaded: LoadedModel) -> None:
    engine = Engine(loaded)
    engine.check(one(world, 0))
    with pytest.raises(MpgError, match="the prompt has"):
        engine.check(one(world, 1, "long " * 60))


class Loading:
    """Loads experts, but for the second time, which raises an error."""

    def __init__(self, whole: Any, error: Exception) -> None:
        self.whole, self.error, self.calls = whole, error, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return self.whole(*args)


@pytest.mark.parametrize("size", [1, 2])
def test_experts_that_do_not_fit_beside_a_full_batch_wait_for_a_slot(
    size: int, world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that runs starts again for a request that has no slot yet."""
    loading = Loading(blends.find_experts, MemoryError())
    monkeypatch.setattr(blends, "find_experts", loading)
    requests = [one(world, n, max_tokens=10 + 10 * n) for n in range(size)]
    late = one(world, "late", personas="terse", max_tokens=4)
    events = answer(loaded, [*requests, late], size)
    assert {event.sequence for event in events if isinstance(event, Finished)} == {*range(size), "late"}
    assert sizes(events) == []
    assert loading.calls == 3


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"), ValueError("surprise")]
)
def test_an_error_while_experts_are_loaded_loses_no_request(
    error: Exception, world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory it is tried again beside fewer; any other error fails the request that it comes from."""
    monkeypatch.setattr(blends, "find_experts", Loading(blends.find_experts, error))
    engine = Engine(loaded, batch_size=4)
    first = [engine.submit(one(world, n, max_tokens=30)) for n in range(2)]
    events = [event for _ in range(3) for _, event in engine.step()]
    late = engine.submit(one(world, "late", personas="terse", max_tokens=4))
    while engine.busy:
        try:
            events += [event for _, event in engine.step()]
        except ValueError:
            assert isinstance(error, ValueError)
    events += [event for _, event in engine.step()]
    ended = {event.sequence for event in events if isinstance(event, Finished | Failed)}
    assert ended == {0, 1, "late"}
    assert not any(handle.left for handle in (*first, late))
    assert isinstance(error, ValueError) == any(isinstance(event, Failed) for event in events)
