"""The cost model by simulation and by hand; replies that find their own chunk size keep their law."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from mpg_cli.sampling.drafters import RowDrafter
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.pace import LONGEST, Cost, Pace, best_chunk_size, committed
from mpg_cli.sampling.params import Threshold
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.round import Round
from mpg_cli.sampling.rules import Rule
from mpg_cli.sampling.scr import Sampler
from mpg_cli.sampling.settings import Settings
from tests.sampling.fake import END, FakeEngine, random_law
from tests.sampling.test_scr import CASES, DRAFTERS, MERGED, ROWS, assert_law, reply_law, sample

RATES = (0.9, 0.5, 0.7)


def test_committed_tokens_are_those_of_simulated_rounds() -> None:
    """20,000 rounds; the mean is off by more than 5 standard errors about once in 10^6 runs."""
    rng, draws = random.Random(3), 20_000
    for gamma in (0, 1, 2, 3, 6):
        counts = []
        for _ in range(draws):
            kept = 0
            while kept < gamma and rng.random() < RATES[min(kept, len(RATES) - 1)]:
                kept += 1
            counts.append(1 + kept)
        mean = sum(counts) / draws
        spread = (sum((n - mean) ** 2 for n in counts) / draws / draws) ** 0.5
        assert abs(mean - committed(gamma, RATES)) <= 5 * spread + 1e-9


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
        (Cost(score=6), 98, LONGEST),
        (Cost(score=1), 95, 1),  # nothing to win
        (Cost(step=0, position=0), 50, LONGEST),  # drafts for nothing
    ],
)
def test_the_best_chunk_size(cost: Cost, rate: int, expected: int) -> None:
    assert best_chunk_size(rate, cost) == expected


def test_the_chunk_grows_with_the_acceptance_and_shrinks_again() -> None:
    pace = Pace(Cost(score=6))
    start = pace.chunk_size
    for _ in range(10):
        pace.add(tested=4, kept=4)
    grown = pace.chunk_size
    for _ in range(40):
        pace.add(tested=2, kept=0)
    assert grown > start > pace.chunk_size == 1


@pytest.mark.parametrize("case", CASES)
def test_exact_text_is_the_lock_step_text_with_a_chunk_size_of_its_own(case: str) -> None:
    lock_step = [r.tokens for r in sample(CASES[case], None, range(30), limit=12)]
    adaptive = replace(CASES[case], cost=Cost(score=6))
    for drafter in DRAFTERS.values():
        assert [r.tokens for r in sample(adaptive, drafter, range(30), limit=12)] == lock_step


def test_block_has_the_law_of_the_target_with_a_chunk_size_of_its_own() -> None:
    settings = Settings((1.0, 0.8), rule="block", cost=Cost(score=4), end_tokens=frozenset({END}))
    counts = Counter(tuple(r.tokens) for r in sample(settings, MERGED, range(4000), limit=4))
    assert_law(counts, reply_law(settings, limit=4))


def rounds(rule: Rule, sequences: range) -> dict[int | str, list[Round]]:
    """The rounds of a batch whose replies find their chunk size, by sequence."""
    settings = Settings((1.0, 0.8), rule=rule, cost=Cost(score=6))
    engine = FakeEngine(random_law, ROWS, len(sequences))
    drafter = RowDrafter(FakeEngine(random_law, (MERGED,), len(sequences)))
    replies = [Reply(Noise(7, s), 30) for s in sequences]
    found: dict[int | str, list[Round]] = {s: [] for s in sequences}
    for round_ in Sampler(engine, drafter, settings, replies).run():
        found[round_.sequence].append(round_)
    return found


def test_under_exact_a_batch_drafts_chunks_of_one_size() -> None:
    of_round = zip(*(own[:4] for own in rounds("exact", range(6)).values()), strict=True)
    assert all(len({len(r.draft) for r in same_time}) == 1 for same_time in of_round)


def test_under_block_a_reply_finds_its_chunk_size_by_itself_in_any_batch() -> None:
    together = rounds("block", range(6))
    sizes = {len(r.draft) for own in together.values() for r in own}
    assert len(sizes) > 2
    for sequence in range(6):
        alone = rounds("block", range(sequence, sequence + 1))[sequence]
        assert [(r.draft, r.tokens) for r in alone] == [(r.draft, r.tokens) for r in together[sequence]]


def test_thresholds_belong_to_chunks_of_one_size() -> None:
    with pytest.raises(ValueError, match="one size"):
        Settings((1.0,), rule="threshold", cost=Cost(), threshold=Threshold())
