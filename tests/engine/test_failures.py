"""What fails in a batch: the request that it comes from. Nothing is lost, and nothing begins after a stop."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpg_cli.engine.events import Failed, Finished
from mpg_cli.engine.scheduler import Scheduler
from mpg_cli.errors import ModelError, MpgError
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.sampling.params import Scheme
from tests.support.requests import answer, failures, ids, one, passes, short, sizes, texts

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
    """Those that ran beside it go one by one; those that were prefilled ahead did not run."""
    requests = short(world)
    requests[12] = one(world, 12, SICK)
    events = answer(sick, requests, 8)
    assert failures(events) == [(12, "numerics")]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert "NaN" in failed.error.message
    assert texts(events) == {id_: text for id_, text in whole.items() if id_ != 12}


def test_after_nan_and_a_stop_the_rest_is_left_for_the_next_time(world: Path, sick: LoadedModel) -> None:
    requests = [one(world, 0, SICK), *short(world, 8)[1:]]
    scheduler, done = Scheduler(sick, batch_size=8), []
    for event in scheduler.run(iter(requests)):
        if isinstance(event, Finished | Failed):
            done.append(event)
            scheduler.stop()
    assert len(done) == 1


@pytest.mark.parametrize("at", [1, 3, 12, 13, 14, 20])
def test_without_memory_fewer_run_together_and_nothing_is_lost(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str], at: int
) -> None:
    """Wherever it runs out: in the first prefill, in a round, or where prompts are prefilled ahead."""
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


def test_memory_that_ends_with_one_request_is_an_error(world: Path, loaded: LoadedModel) -> None:
    with passes(loaded, Scarce(rows=0)), pytest.raises(ModelError, match="not enough memory for one prompt"):
        answer(loaded, short(world, 4), 4)


@pytest.mark.parametrize("early", [1, 2])
def test_memory_that_ends_while_a_group_grows_makes_it_smaller(
    world: Path, loaded: LoadedModel, whole: dict[int | str, str], early: int
) -> None:
    requests = short(world, scheme=Scheme(drafter="none"))
    first = [request for request in requests if (request.sampling.max_tokens or 0) > 10][:early]
    rest = [request for request in requests if request not in first]
    with passes(loaded, Scarce(rows=8 * ROWS)):
        events = answer(loaded, iter([*first, None, None, *rest]), 16)
    assert sizes(events) == [8]
    assert texts(events) == whole


@pytest.mark.parametrize("now", [False, True])
def test_stopping_ends_the_running_replies_or_drops_them(world: Path, loaded: LoadedModel, now: bool) -> None:
    scheduler = Scheduler(loaded, batch_size=3)
    events = []
    for event in scheduler.run(iter(short(world))):
        events.append(event)
        if isinstance(event, Finished):
            scheduler.stop(now=now)
    done = len(texts(events))
    assert done < 40
    assert (done == 1) if now else (done >= 2)


def test_what_was_prefilled_ahead_does_not_begin_after_a_stop(world: Path, loaded: LoadedModel) -> None:
    scheduler, begun = Scheduler(loaded, batch_size=8), 0
    replies = scheduler.run(iter(short(world)))
    for event in replies:
        begun += isinstance(event, Finished)
        if begun == 12:
            scheduler.stop()
            break
    begun += len(ids(replies))
    assert 12 < begun <= 12 + 7


def test_other_errors_are_not_hidden(world: Path, loaded: LoadedModel) -> None:
    def broken(module: torch.nn.Module, tokens: torch.Tensor) -> None:
        raise RuntimeError("a bug")

    with passes(loaded, broken), pytest.raises(RuntimeError, match="a bug"):
        answer(loaded, short(world, 4))


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
    scheduler = Scheduler(loaded)
    scheduler.check(one(world, 0))
    with pytest.raises(MpgError, match="the prompt has"):
        scheduler.check(one(world, 1, "long " * 60))
