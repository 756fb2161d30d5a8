"""The cost model on synthetic times, and the whole search on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished, Started
from mpg_cli.engine.profile import Choice, Profile, read_profile, write_profile
from mpg_cli.engine.profile_key import profile_key, versions
from mpg_cli.engine.request import Request
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import SamplingLaw, Scheme, Threshold
from mpg_cli.sampling.stats import Round, Seconds, Stats
from mpg_cli.tuning.measure import GRID, Bench, Variant, acceptance_by_position, effect_per_token
from mpg_cli.tuning.tuner import Parts, Tuner, best_gamma, interpolated
from tests.support.requests import request

TIMES = {0: 1.0, 4: 1.4, 16: 5.0}


@pytest.mark.parametrize("gamma, expected", [(0, 1.0), (1, 1.1), (4, 1.4), (10, 3.2), (16, 5.0), (20, 6.2)])
def test_times_between_those_measured_are_linear(gamma: int, expected: float) -> None:
    assert interpolated(TIMES, gamma) == pytest.approx(expected)


def test_the_predicted_time_is_that_of_the_formula() -> None:
    parts = Parts((0.9, 0.8), 0.5, TIMES, (0.2, 0.1))
    expected = (2 * 0.5 + 1.2 + 0.2 + 2 * 0.1) / (1 + 0.9 + 0.9 * 0.8)
    assert parts.seconds_per_token(2) == pytest.approx(expected)
    assert parts.seconds_per_token(0) == pytest.approx(1.2)


def test_token_by_token_is_chosen_where_drafting_does_not_pay() -> None:
    slow, free = Parts((0.5,), 2.0, TIMES, (0.0, 0.0)), Parts((0.95,), 0.0, {0: 1.0}, (0.0, 0.0))
    assert best_gamma(slow) == 0
    assert best_gamma(free) == 64


def _stats(drafted: int, accepted: int, **fields: object) -> Stats:
    """Of a round."""
    tokens, evaluated = (1,) * (accepted + 1), min(accepted + 1, drafted)
    whole = Round(0, 0, (1,) * drafted, evaluated, accepted, tokens, (), Seconds())
    return Stats.of(replace(whole, **fields))  # type: ignore[arg-type]


def test_acceptance_by_position_counts_rounds_that_reached_it() -> None:
    stats = sum((_stats(3, accepted) for accepted in (0, 1, 1, 3)), Stats())
    assert stats.reached == (4, 3, 1)
    overall = (3 + 1 + 1 + 1) / (4 + 3 + 1 + 2)
    expected = [(accepted + 4 * overall) / (n + 4) for accepted, n in ((3, 4), (1, 3), (1, 1), (0, 0))]
    assert acceptance_by_position(stats) == pytest.approx(expected)


def test_a_lookup_that_finds_nothing_counts_as_a_rejection_and_the_limit_does_not() -> None:
    stats = _stats(0, 0) + _stats(0, 0, finish_reason="length")
    assert stats.reached == (1,)
    assert acceptance_by_position(stats)[0] < 0.5


def bench_of(asked: Request) -> Bench:
    loaded = load_model(asked.model.name, device="cpu", dtype="float32")
    return Bench(asked, loaded, [Prompting("Hello"), Prompting("What now?")])


def replied(bench: Bench, asked: Request) -> list[Event]:
    """The events of the replies to a request, by a new engine."""
    return list(Engine(bench.loaded, cache=bench.cache).replies(asked))


def began(bench: Bench, asked: Request) -> Started:
    return next(event for event in replied(bench, asked) if isinstance(event, Started))


@pytest.fixture(scope="module")
def bench(world: Path) -> Bench:
    return bench_of(request(world, sampling=SamplingLaw(max_tokens=12)))


def test_a_score_pass_is_timed_and_leaves_nothing(bench: Bench) -> None:
    under_threshold = replace(bench.request, scheme=Scheme(rule="threshold", drafter="none"))
    bench = Bench(under_threshold, bench.loaded, bench.prompts)
    times = bench.score_times(candidates=2)
    assert list(times) == list(GRID)
    assert all(seconds > 0 for seconds in times.values())


def tuned(bench: Bench, drafters: list[str], max_bias: float = 0.02) -> tuple[Profile, list[float]]:
    shares: list[float] = []
    profile = Tuner(bench, drafters, max_bias, 0.5).run(lambda what, share: shares.append(share))
    return profile, shares


def test_auto_uses_the_profile_and_the_text_stays_the_same(bench: Bench) -> None:
    auto = replace(bench.request, scheme=Scheme())
    before = replied(bench, auto)
    profile, shares = tuned(bench, ["merged", "reference", "lookup"])
    write_profile(profile)
    after = replied(bench, auto)
    end, tuned_end = (next(e for e in run if isinstance(e, Finished)) for run in (before, after))
    fastest = profile.choices[profile.best]
    assert tuned_end.spec.scheme.drafter == fastest.drafter
    assert tuned_end.spec.chunk_size == fastest.chunk_size
    assert end.text == tuned_end.text
    assert {choice.drafter for choice in profile.choices} == {"none", "merged", "reference", "lookup"}
    assert all(len(curve) == 65 for curve in profile.curves.values())
    assert shares == sorted(shares)
    assert fastest.measured == max(choice.measured or 0 for choice in profile.choices)


@pytest.mark.parametrize(
    ("asked", "drafter", "chunk_size"),
    [
        (Scheme(), "reference", 3),
        (Scheme(chunk_size=5), "reference", 5),
        (Scheme(drafter="merged"), "merged", 2),
        (Scheme(drafter="merged", chunk_size=6), "merged", 6),
        (Scheme(drafter="lookup"), "lookup", "auto"),
        (Scheme(drafter="none"), "none", 0),
        (Scheme(chunk_size=0), "none", 0),
        (Scheme(rule="block"), "merged", "auto"),  # that was not tuned
    ],
    ids=str,
)
def test_options_take_precedence_over_the_profile(
    bench: Bench, asked: Scheme, drafter: str, chunk_size: int | str
) -> None:
    """And what was tuned before the defaults."""
    found = (
        Choice("reference", 1, 3, 0.9, 300.0, 300.0),
        Choice("merged", 1, 2, 0.9, 200.0, 200.0),
        Choice("none", 1, 0, None, 100.0, 100.0),
    )
    key = profile_key(bench.loaded, bench.experts, Scheme())
    write_profile(Profile(key, versions(), found, 0))
    wanted = replace(bench.request, scheme=asked)
    spec = began(bench, wanted).spec
    assert (spec.scheme.drafter, spec.chunk_size) == (drafter, chunk_size)


def test_tuned_token_by_token_is_used_unless_a_chunk_size_is_given(bench: Bench) -> None:
    found = (Choice("none", 1, 0, None, 100.0, 100.0), Choice("merged", 1, 2, 0.9, 90.0, 90.0))
    key = profile_key(bench.loaded, bench.experts, Scheme())
    write_profile(Profile(key, versions(), found, 0))
    for size, drafter in ((None, "none"), (4, "merged")):
        wanted = replace(bench.request, scheme=Scheme(chunk_size=size))
        assert began(bench, wanted).spec.scheme.drafter == drafter


def test_a_profile_is_for_its_blend_only(bench: Bench, world: Path) -> None:
    scheme = Scheme()
    keys = [
        profile_key(bench.loaded, experts, which)
        for experts, which in (
            (bench.experts, scheme),
            (bench.experts[:1], scheme),
            ([replace(bench.experts[0], weight=0.3), *bench.experts[1:]], scheme),
            (bench.experts, Scheme(target="mixture")),
            (bench.experts, Scheme(rule="block")),
            (bench.experts, Scheme(rule="threshold")),
            (bench.experts, Scheme(rule="threshold", threshold=Threshold("fixed:1"))),
        )
    ]
    assert len({str(key) for key in keys}) == len(keys)
    assert profile_key(bench.loaded, bench.experts, Scheme(drafter="reference", chunk_size=3)) == keys[0]


@pytest.mark.parametrize("max_bias", [0.0, 1.0])
def test_the_threshold_rule_stays_within_the_bias_that_is_allowed(world: Path, max_bias: float) -> None:
    asked = request(world, sampling=SamplingLaw(max_tokens=12), scheme=Scheme(rule="threshold"))
    profile, _ = tuned(bench_of(asked), ["merged", "reference"], max_bias)
    assert {choice.candidates for choice in profile.choices if choice.drafter == "merged"} == {1, 4, 8}
    for choice in profile.choices:
        assert choice.allowed == (choice.bias_bound is None or choice.bias_bound <= max_bias)
    assert profile.choices[profile.best].allowed
    run = [choice for choice in profile.choices if choice.bias_bound is not None]
    assert any(choice.chunk_size > 0 for choice in run)


def test_a_stale_profile_is_a_notice(bench: Bench) -> None:
    profile, _ = tuned(bench, ["merged"])
    write_profile(replace(profile, versions=versions() | {"mpg": "0"}))
    notices = Engine(bench.loaded, cache=bench.cache).prepare(replace(bench.request, scheme=Scheme()))
    assert any("other versions" in notice for notice in notices)
    assert read_profile(profile.key, versions())[0] is None


def test_a_probe_counts_rounds(bench: Bench) -> None:
    found = bench.probe(Variant("merged", 1, 4), seconds=0.1)
    assert found.passes >= 4
    assert 0 < acceptance_by_position(found)[0] < 1
    assert effect_per_token(found) is not None
