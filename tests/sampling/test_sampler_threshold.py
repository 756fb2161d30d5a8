"""The threshold rule through the whole loop: its law, its thresholds, its candidates."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import torch

from mpg_cli.sampling.drafters import SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import TargetName, Threshold
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import Decoding, SequenceState, Window
from mpg_cli.sampling.targets import combine, warp
from tests.sampling.fake import END, VOCABULARY, FakeScorer, random_law
from tests.sampling.sampled import (
    CASES,
    MERGED,
    ROWS,
    assert_law,
    decoding,
    drafter_of,
    reply_law,
    sample,
    sampler_of,
    with_scheme,
)


@pytest.mark.parametrize("name", ["penalties", "said alone", "said alone, against"])
def test_threshold_rule_has_the_law_of_the_target_where_nothing_is_clipped(name: str) -> None:
    """Top-p and min-p of the drafter are off; what a row alone would say restricts the target only."""
    case = CASES[name]
    untruncated = replace(
        case, sampling=replace(case.sampling.untruncated(), expert_min_p=case.sampling.expert_min_p)
    )
    how = with_scheme(untruncated, rule="threshold", chunk_size=2, threshold=Threshold("fixed:4"))
    replies = sample(how, MERGED, range(4000))
    assert_law(Counter(tuple(r.tokens) for r in replies), reply_law(how))


def near_law(row: int, prefix: tuple[int, ...]) -> tuple[float, ...]:
    """Rows that differ little from the reference: thresholds are low and much is accepted."""
    mixed = [0.75 * x + 0.25 * y for x, y in zip(random_law(0, prefix), random_law(row, prefix), strict=True)]
    return tuple(mixed)


def true_maxima(how: Decoding, gamma: int, limit: int) -> tuple[float, ...]:
    """m_l = max(0, m_{l-1}, the largest a_l of any chunk from any prefix), by enumeration."""
    scorer, drafter = FakeScorer(near_law, ROWS), FakeScorer(near_law, (MERGED,))
    weights = torch.tensor(how.weights)
    most = [0.0] * gamma

    def walk(prefix: tuple[int, ...], a: float, place: int) -> None:
        if place == gamma or len(prefix) == limit or prefix[-1:] == (END,):
            for rest in range(place, gamma):  # padding: the log-ratio stays
                most[rest] = max(most[rest], a)
            return
        log_p = warp(combine(how.scheme.target, scorer.log_probs(prefix), weights), how.sampling)
        steps = log_p - drafter.log_probs(prefix)[0]
        for token in range(VOCABULARY):
            if log_p[token] > -torch.inf:
                most[place] = max(most[place], a + float(steps[token]))
                walk((*prefix, token), a + float(steps[token]), place + 1)

    for length in range(limit):
        for prefix in itertools.product(range(END), repeat=length):
            walk(prefix, 0.0, 0)
    return tuple(itertools.accumulate(most, max))


@dataclass
class Maxima(Window):
    """Thresholds that are known beforehand."""

    maxima: tuple[float, ...]

    def thresholds(self, size: int) -> tuple[float, ...]:
        return self.maxima[:size]


@pytest.mark.parametrize(
    "gamma, target, top_p, candidates, ahead",
    [
        (1, "product", 1.0, 1, 1),
        (2, "product", 1.0, 1, 1),
        (3, "product", 1.0, 1, 1),
        (2, "mixture", 1.0, 1, 1),
        (2, "product", 0.8, 1, 1),
        (2, "product", 1.0, 4, 1),
        (1, "product", 1.0, 1, 3),
        (2, "product", 1.0, 3, 2),
    ],
)
def test_threshold_rule_has_the_law_of_the_target_when_nothing_is_clipped(
    gamma: int, target: TargetName, top_p: float, candidates: int, ahead: int
) -> None:
    """With the true maxima as thresholds there is no bias; chunks are accepted, salvaged and rejected."""
    how = decoding(
        (0.8, 0.5),
        target=target,
        rule="threshold",
        chunk_size=gamma,
        threshold=Threshold(candidates=candidates, ahead=ahead),
        top_p=top_p,
    )
    limit = gamma * ahead + 1
    maxima = true_maxima(how, gamma, limit)
    replies = [SequenceState(Noise(3, n), how, limit) for n in range(6000 // (candidates * ahead))]
    sampler = sampler_of(MERGED, replies, near_law)
    for reply in replies:
        reply.window = Maxima(how.scheme.threshold, maxima)
    rounds = list(sampler.run())
    assert all(
        a <= m + 1e-6
        for r in rounds
        for chunk in r.log_ratios or ()
        for a, m in zip(chunk, r.thresholds or (), strict=False)  # the token limit cuts chunks short
    )
    accepted = Counter(r.accepted for r in rounds if len(r.draft) == gamma * ahead)
    least = 20 if candidates == ahead == 1 else 1
    assert all(accepted[length] >= least for length in range(gamma * ahead + 1)), accepted
    assert {r.candidate for r in rounds} == set(range(candidates))
    assert_law(Counter(tuple(r.tokens) for r in replies), reply_law(how, near_law, limit))


def test_thresholds_come_from_the_chunks_before_of_the_same_sequence() -> None:
    """Recomputed from the events alone, in a batch: fixed before the pass, one window a sequence."""
    how = decoding(rule="threshold", chunk_size=3, threshold=Threshold(window=20), ends=False)
    replies = [SequenceState(Noise(4, n), how, 120) for n in range(3)]
    rounds = list(sampler_of(MERGED, replies).run())
    for reply in replies:
        own = [r for r in rounds if r.sequence == reply.sequence]
        assert len(own) > 40
        seen: list[tuple[float, ...]] = []
        for r in own:
            expected, running = [], 0.0
            for place in range(len(r.thresholds or ())):
                ratios = [a[place] for a in seen[-20:] if len(a) > place]
                running = max([running, *ratios]) if len(ratios) >= 16 else running
                expected.append(running)
            assert r.thresholds == pytest.approx(expected)
            if r.log_ratios:
                seen += r.log_ratios
        assert max(own[-5].thresholds or (0.0,)) > 0
        alone = SequenceState(Noise(4, reply.sequence), how, 120)
        again = list(sampler_of(MERGED, [alone]).run())
        assert alone.tokens == reply.tokens
        assert [r.thresholds for r in again] == [r.thresholds for r in own]


@dataclass(frozen=True)
class Listed(Noise):
    """Noise that lists the uniforms that were asked for."""

    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def uniform(self, position: int, stream: int, offset: int = 0) -> float:
        self.asked.append((position, stream, offset))
        return super().uniform(position, stream, offset)


def test_each_test_of_a_chunk_has_a_uniform_of_its_own() -> None:
    noise = Listed(7, 0)
    how = decoding(rule="threshold", chunk_size=3, ends=False)
    list(sampler_of(MERGED, [SequenceState(noise, how, 20)]).run())
    assert len(set(noise.asked)) == len(noise.asked)
    assert {offset for _, _, offset in noise.asked} == {0, 1, 2}


def test_under_threshold_the_drafter_is_not_truncated() -> None:
    """Under top-p 0.01 the target is greedy; masked likewise, the drafter could only propose its best."""
    how = decoding(rule="threshold", chunk_size=1, top_p=0.01, ends=False)
    replies = [SequenceState(Noise(1, n), how, 2) for n in range(200)]
    rounds = sampler_of(MERGED, replies).round().values()
    assert len({r.draft for r in rounds}) == VOCABULARY
    assert len({r.tokens[0] for r in rounds}) == 1


def test_counts_are_of_the_committed_candidate_and_drafted_of_all() -> None:
    how = decoding(rule="threshold", chunk_size=2, threshold=Threshold(candidates=3, ahead=2), ends=False)
    scorer, reply = FakeScorer(random_law, ROWS, candidates=3), SequenceState(Noise(6, 0), how, 80)
    drafters = SlotDrafters.all(drafter_of(MERGED, 1, 3), 1)
    rounds = list(Sampler(scorer, drafters, [reply]).run())
    assert [t for r in rounds for t in r.tokens] == reply.tokens
    assert scorer.streams[0] == [reply.tokens] * 3
    for r in rounds[:-5]:  # the last ones may be cut by the token limit
        assert len(r.draft) == 4
        assert r.drafted == 12
        assert r.tokens[: r.accepted] == r.draft[: r.accepted]
        assert len(r.thresholds or ()) == 2
        assert 3 <= len(r.log_ratios or ()) <= 6
    assert reply.window is not None
    assert len(reply.window.chunks) == 64
