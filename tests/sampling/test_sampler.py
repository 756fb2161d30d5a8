"""The law of the whole loop, on a hand-written model of four tokens, against enumeration. Chances of a false
failure are stated where draws are compared.
"""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.drafters import RowDrafter, SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import RuleName, TargetName, Threshold
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import SequenceState
from tests.sampling.fake import END, FakeScorer, Law, random_law
from tests.sampling.sampled import (
    CASES,
    DRAFTERS,
    LENGTH,
    LOOKUP,
    MERGED,
    PENALISED,
    ROWS,
    assert_law,
    decoding,
    reply_law,
    sample,
    sampler_of,
    with_scheme,
)


@pytest.mark.parametrize("case", CASES)
def test_exact_text_is_the_token_by_token_text_for_every_drafter_and_chunk_size(case: str) -> None:
    token_by_token = [r.tokens for r in sample(CASES[case], None, range(40), limit=7)]
    for (name, row), gamma in itertools.product(DRAFTERS.items(), (1, 2, 5, 8)):
        how = with_scheme(CASES[case], chunk_size=gamma)
        assert [r.tokens for r in sample(how, row, range(40), limit=7)] == token_by_token, (name, gamma)


@pytest.mark.parametrize("case", [name for name in CASES if name != "greedy"])
def test_exact_rule_has_the_law_of_the_target(case: str) -> None:
    draws = 6000
    counts = Counter(tuple(r.tokens) for r in sample(CASES[case], MERGED, range(draws)))
    assert_law(counts, reply_law(CASES[case]))


def test_a_persona_alone_keeps_its_distribution() -> None:
    """expert-min-p counts where weights extrapolate, and beside such replies the others keep their text."""
    alone, free = decoding((1.0, 0.0), expert_min_p=1.0), decoding((1.0, 0.0))
    between, product = decoding((0.4, 0.6), expert_min_p=1.0), decoding((1.0, 0.8), expert_min_p=1.0)
    expected = [r.tokens for how in (free, decoding((0.4, 0.6))) for r in sample(how, MERGED, range(60))]
    assert [r.tokens for how in (alone, between) for r in sample(how, MERGED, range(60))] == expected
    mixed = [
        SequenceState(Noise(7, n), how, LENGTH, PENALISED)
        for how in (alone, between, product)
        for n in range(60)
    ]
    for _ in sampler_of(MERGED, mixed).run():
        pass
    assert [state.tokens for state in mixed[:120]] == expected
    texts = [state.tokens for state in mixed[120:]]
    assert texts == [r.tokens for r in sample(product, MERGED, range(60))]
    assert texts != [r.tokens for r in sample(decoding((1.0, 0.8)), MERGED, range(60))]


@pytest.mark.parametrize("target", ["mixture", "merged"])
def test_other_targets_are_not_restricted(target: TargetName) -> None:
    weights = (1.0, 0.8) if target == "mixture" else ()
    texts = [
        [r.tokens for r in sample(decoding(weights, target=target, expert_min_p=m), MERGED, range(40))]
        for m in (0.0, 1.0)
    ]
    assert texts[0] == texts[1]


def test_a_ban_holds_where_every_row_would_say_the_token_and_a_forced_one_comes_where_none_would() -> None:
    sure: Law = lambda row, prefix: (0.001, 0.997, 0.001, 0.001)  # noqa: E731
    for bias, expected in (((1, -100.0), {0, 2, 3}), ((2, 100.0), {2})):
        how = decoding((1.0, 1.0), expert_min_p=0.5, logit_bias=(bias,), ends=False)
        found = {token for r in sample(how, MERGED, range(40), law=sure) for token in r.tokens}
        assert found == expected


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_exact_rule_has_the_law_of_the_target_for_every_drafter(drafter: str) -> None:
    how = decoding(chunk_size=2)
    counts = Counter(tuple(r.tokens) for r in sample(how, DRAFTERS[drafter], range(4000), seed=11))
    assert_law(counts, reply_law(how))


@pytest.mark.parametrize("drafter, gamma", [("reference", 3), ("merged", 2), ("lookup", 3), ("none", 4)])
def test_block_rule_has_the_law_of_the_target_for_every_drafter(drafter: str, gamma: int) -> None:
    how = decoding(rule="block", chunk_size=gamma)
    counts = Counter(tuple(r.tokens) for r in sample(how, DRAFTERS[drafter], range(4000), limit=4))
    assert_law(counts, reply_law(how, limit=4))


@pytest.mark.parametrize("case", ["mixture", "top-p", "penalties", "said alone"])
def test_block_rule_has_the_law_of_the_target(case: str) -> None:
    how = with_scheme(CASES[case], rule="block", chunk_size=3)
    counts = Counter(tuple(r.tokens) for r in sample(how, MERGED, range(3000)))
    assert_law(counts, reply_law(how))


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_at_temperature_0_the_text_of_block_is_that_of_exact(drafter: str) -> None:
    (block,), (exact,) = (
        sample(with_scheme(CASES["greedy"], rule=rule, chunk_size=3), DRAFTERS[drafter], [0], limit=12)
        for rule in ("block", "exact")
    )
    assert block.tokens == exact.tokens


def test_a_blend_that_leaves_nothing_is_an_error() -> None:
    apart = lambda row, prefix: ((0.5, 0.5, 0, 0), (1.0, 0, 0, 0), (0, 1.0, 0, 0))[row]  # noqa: E731
    states = [SequenceState(Noise(0, 0), decoding((1.0, 1.0)), 5)]
    with pytest.raises(NumericsError, match="no token has any probability"):
        list(sampler_of(None, states, apart).run())


@pytest.mark.parametrize("temperature", [1e-39, 1e-6, 0.0])
def test_tiny_temperatures_are_greedy(temperature: float) -> None:
    how, greedy = decoding(temperature=temperature), decoding(temperature=0.0)
    assert sample(how, MERGED, [0])[0].tokens == sample(greedy, MERGED, [0])[0].tokens


def test_a_batch_does_not_change_a_reply() -> None:
    cases: list[tuple[RuleName, int, Threshold]] = [
        ("exact", 0, Threshold()),
        ("exact", LOOKUP, Threshold()),
        ("block", 0, Threshold()),
        ("block", LOOKUP, Threshold()),
        ("threshold", 0, Threshold(candidates=2, ahead=2)),
    ]
    for rule, drafter, threshold in cases:
        how = decoding(rule=rule, chunk_size=3, threshold=threshold)
        together = sample(how, drafter, [0, "line-1", 2, 3, "x"], limit=9)
        for reply in together:
            alone = sample(how, drafter, [reply.sequence], limit=9)[0]
            assert alone.tokens == reply.tokens
            assert alone.finish_reason == reply.finish_reason


def test_every_pass_commits_and_counts_add_up() -> None:
    scorer = FakeScorer(random_law, ROWS)
    drafters = SlotDrafters.all(RowDrafter(FakeScorer(random_law, (MERGED,))), 1)
    how = decoding((1.0, 1.0), ends=False)
    reply = SequenceState(Noise(1, 0), how, 50)
    rounds = list(Sampler(scorer, drafters, [reply]).run())
    assert scorer.passes == len(rounds) == reply.stats.passes
    assert reply.stats.committed == 50
    assert reply.stats.accepted == sum(r.accepted for r in rounds)
    assert rounds[-1].stats == reply.stats
    assert all(len(r.tokens) >= 1 and r.accepted <= r.evaluated <= len(r.draft) for r in rounds)
    assert [t for r in rounds for t in r.tokens] == reply.tokens
    assert len(reply.tokens) == 50
    assert [r.start for r in rounds] == list(itertools.accumulate([0] + [len(r.tokens) for r in rounds[:-1]]))
    assert scorer.streams[0][0] == reply.tokens
    assert rounds[-1].finish_reason == "length"
    assert all(len(r.contributions) == len(r.tokens) and len(r.contributions[0]) == 2 for r in rounds)


def test_contributions_to_the_product_are_weighted_log_ratios() -> None:
    reply = SequenceState(Noise(5, 0), decoding((0.5, -2.0), ends=False), 6)
    rounds = list(sampler_of(None, [reply]).run())
    rows = FakeScorer(random_law, ROWS)
    for r in rounds:
        log_probs = rows.log_probs(reply.tokens[: r.start])[:, r.tokens[0]]
        expected = [0.5 * float(log_probs[1] - log_probs[0]), -2.0 * float(log_probs[2] - log_probs[0])]
        assert r.contributions[0] == pytest.approx(expected, abs=1e-5)


def test_experts_equal_to_the_reference_accept_every_chunk() -> None:
    """All experts equal to the reference: the target is the reference, every draft of it stands."""
    same = lambda row, prefix: random_law(0, prefix)  # noqa: E731
    cases: list[tuple[RuleName, Threshold]] = [
        ("exact", Threshold()),
        ("block", Threshold()),
        ("threshold", Threshold()),
        ("threshold", Threshold(candidates=3, ahead=2)),
    ]
    for rule, threshold in cases:
        how = decoding((1.7, -0.4), rule=rule, threshold=threshold, ends=False)
        rounds = list(sampler_of(0, [SequenceState(Noise(2, 0), how, 41)], same).run())
        assert all(r.accepted == len(r.draft) for r in rounds), rule


def test_an_end_token_inside_a_chunk_ends_the_reply() -> None:
    law = lambda row, prefix: (0.0, 0.0, 0.0, 1.0) if len(prefix) == 2 else (0.5, 0.5, 0.0, 0.0)  # noqa: E731
    rules: list[RuleName] = ["exact", "threshold", "block"]
    for rule in rules:
        reply = SequenceState(Noise(0, 0), decoding((1.0, 1.0), rule=rule, chunk_size=6), 20)
        rounds = list(sampler_of(0, [reply], law).run())
        assert len(reply.tokens) == 3
        assert reply.tokens[-1] == END
        assert rounds[-1].finish_reason == "stop"
        assert len(rounds[0].draft) <= 3


def test_a_lookup_cannot_serve_the_threshold_rule() -> None:
    with pytest.raises(ValueError, match="every token"):
        sample(decoding(rule="threshold"), LOOKUP, [0])


def test_other_rules_have_one_candidate() -> None:
    with pytest.raises(ValueError, match="belong to rule threshold"):
        decoding(rule="block", threshold=Threshold(candidates=2))


def test_a_reply_that_is_ended_leaves_the_others() -> None:
    how = decoding((1.0, 1.0), ends=False)
    first, second = (SequenceState(Noise(1, n), how, 30) for n in range(2))
    for event in sampler_of(0, [first, second]).run():
        if event.sequence == 0:
            last = first.end(event, "stop", used=1)
    assert len(first.tokens) < 30
    assert len(last.tokens) == len(last.contributions) == first.stats.committed == 1
    assert last.accepted <= 1
    assert last.finish_reason == first.finish_reason == "stop"
    assert last.stats == first.stats
    assert second.tokens == sample(how, None, [1], seed=1, limit=30)[0].tokens
