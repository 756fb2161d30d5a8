"""The cost model by simulation and by hand; with an adaptive chunk size replies keep their law."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from mpg_cli.sampling.chunk_size import (
    MAX_ADAPTIVE,
    Acceptance,
    Cost,
    adaptive_chunk_size,
    best_chunk_size,
    expected_committed,
)
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import RuleName
from mpg_cli.sampling.state import SequenceState
from mpg_cli.sampling.stats import Round
from tests.sampling.sampled import (
    CASES,
    DRAFTERS,
    MERGED,
    assert_law,
    decoding,
    reply_law,
    sample,
    sampler_of,
    with_scheme,
)

RATES = (0.9, 0.5, 0.7)


def test_committed_tokens_are_those_of_simulated_rounds() -> None:
    """20,000 rounds; the mean is off by more than 5 standard errors about once in 10^6 runs."""
    rng, draws = random.Random(3), 20_000
    for gamma in (0, 1, 2, 3, 6):
        counts = []
        for _ in range(draws):
            accepted = 0
            while accepted < gamma and rng.random() < RATES[min(accepted, len(RATES) - 1)]:
                accepted += 1
            counts.append(1 + accepted)
        mean = sum(counts) / draws
        spread = (sum((n - mean) ** 2 for n in counts) / draws / draws) ** 0.5
        assert abs(mean - expected_committed(gamma, RATES)) <= 5 * spread + 1e-9


def test_a_token_costs_its_share_of_a_round() -> None:
    cost = Cost(step=2, score=5, position=1)
    assert cost.of_round(3) == 3 * (2 + 1) + 5
    assert cost.of_token(1, (0.5,)) == 8 / 1.5
    assert cost.of_token(0, (0.5,)) == 5


@pytest.mark.parametrize(
    "cost, rate, expected",
    [
        (Cost(score=6), 30, 1),
        (Cost(score=6), 80, 4),  # gamma 3: 9.3 / 2.952, 4: 10.4 / 3.362, 5: 11.5 / 3.689
        (Cost(score=6), 98, MAX_ADAPTIVE),
        (Cost(score=1), 95, 0),  # nothing to win
        (Cost(step=0, position=0), 50, MAX_ADAPTIVE),  # drafts for nothing
    ],
)
def test_the_best_chunk_size(cost: Cost, rate: int, expected: int) -> None:
    assert best_chunk_size(rate, cost) == expected


def test_the_chunk_grows_with_the_acceptance_and_shrinks_again() -> None:
    cost, start = Cost(score=6), Acceptance()
    grown, shrunk = start.plus(40, 40), start.plus(40, 40).plus(0, 400)
    sizes = [adaptive_chunk_size(known, cost) for known in (grown, start, shrunk)]
    assert sizes[0] > sizes[1] > sizes[2] == 0


def test_the_less_was_evaluated_the_more_a_draft_may_be_worth() -> None:
    few, many = Acceptance(0.5).plus(4, 8), Acceptance(0.5).plus(400, 800)
    assert few.rate > many.rate > 0.5
    assert Acceptance(0.5).rate == 0.5


@pytest.mark.parametrize("case", CASES)
def test_exact_text_is_the_token_by_token_text_with_an_adaptive_chunk_size(case: str) -> None:
    token_by_token = [r.tokens for r in sample(CASES[case], None, range(30), limit=12)]
    adaptive = replace(with_scheme(CASES[case], chunk_size=None), cost=Cost(score=6))
    for drafter in DRAFTERS.values():
        found = sample(adaptive, drafter, range(30), limit=12)
        assert [r.tokens for r in found] == token_by_token


def test_block_has_the_law_of_the_target_with_an_adaptive_chunk_size() -> None:
    how = decoding(rule="block", chunk_size=None, cost=Cost(score=4))
    counts = Counter(tuple(r.tokens) for r in sample(how, MERGED, range(4000), limit=4))
    assert_law(counts, reply_law(how, limit=4))


def rounds(rule: RuleName, sequences: range) -> dict[int | str, list[Round]]:
    """The rounds of a batch with adaptive chunk sizes, by sequence."""
    how = decoding(rule=rule, chunk_size=None, ends=False, cost=Cost(score=6))
    replies = [SequenceState(Noise(7, s), how, 30) for s in sequences]
    found: dict[int | str, list[Round]] = {s: [] for s in sequences}
    for round_ in sampler_of(MERGED, replies).run():
        found[round_.sequence].append(round_)
    return found


def test_under_block_the_chunk_size_of_a_reply_does_not_depend_on_its_batch() -> None:
    together = rounds("block", range(6))
    sizes = {len(r.draft) for own in together.values() for r in own}
    assert len(sizes) > 2
    for sequence in range(6):
        alone = rounds("block", range(sequence, sequence + 1))[sequence]
        assert [(r.draft, r.tokens) for r in alone] == [(r.draft, r.tokens) for r in together[sequence]]


def test_thresholds_need_a_fixed_chunk_size() -> None:
    with pytest.raises(ValueError, match="fixed chunk size"):
        decoding(rule="threshold", chunk_size=None)
