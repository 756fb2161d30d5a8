"""The law of the whole loop, on a hand-written model of four tokens, by exhaustive enumeration of the
replies. Chances of a false failure are stated where draws are compared."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.drafters import LookupDrafter, RowDrafter
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import Threshold
from mpg_cli.sampling.penalties import Penalties
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.scr import Sampler
from mpg_cli.sampling.settings import Settings
from mpg_cli.sampling.targets import Target, combine
from mpg_cli.sampling.thresholds import Window
from mpg_cli.sampling.warpers import Warp, warp
from tests.sampling.fake import END, VOCABULARY, FakeEngine, Law, random_law

ROWS = (0, 1, 2)  # the reference and two experts
MERGED = 9  # a row of its own: close to the target or not, any law serves as a drafter
LOOKUP = -1
DRAFTERS = {"reference": 0, "persona": 2, "merged": MERGED, "none": None, "lookup": LOOKUP}
SAID = [0, 1, 2, 2, 0, 1, 1, 2, 0]  # what a lookup may find the reply's words in
LENGTH = 3
ASKED = (2,)  # the prompt, as far as penalties see it


def sample(
    settings: Settings,
    drafter: int | None,
    sequences: Sequence[int | str],
    seed: int = 7,
    limit: int = LENGTH,
) -> list[Reply]:
    """One batch of replies from the empty prompt."""
    batch, candidates = len(sequences), settings.threshold.candidates
    engine = FakeEngine(random_law, ROWS, batch, candidates)
    draft: RowDrafter | LookupDrafter | None = None
    if drafter == LOOKUP:
        draft = LookupDrafter([SAID] * batch)
    elif drafter is not None:
        draft = RowDrafter(FakeEngine(random_law, (drafter,), batch, candidates))
    replies = [Reply(Noise(seed, s), limit, ASKED) for s in sequences]
    for _ in Sampler(engine, draft, settings, replies).run():
        pass
    return replies


def penalised(log_p: torch.Tensor, scale: float, how: Penalties, prefix: tuple[int, ...]) -> torch.Tensor:
    """The penalties of the algorithm page, token by token."""
    z = [float(x) + scale for x in log_p]
    for token in range(VOCABULARY):
        if token in (*ASKED, *prefix):
            z[token] = z[token] / how.repetition if z[token] > 0 else z[token] * how.repetition
        z[token] -= how.presence * (token in prefix) + how.frequency * prefix.count(token)
        z[token] += dict(how.bias).get(token, 0.0)
    return torch.tensor(z, dtype=torch.float64).log_softmax(-1)


def reply_law(settings: Settings, law: Law = random_law, limit: int = LENGTH) -> dict[tuple[int, ...], float]:
    """The target's probability of every reply, by enumeration."""
    engine = FakeEngine(law, ROWS)
    weights = torch.tensor(settings.weights)

    def grow(prefix: tuple[int, ...], mass: float) -> dict[tuple[int, ...], float]:
        if len(prefix) == limit or prefix[-1:] == (END,):
            return {prefix: mass}
        log_p = combine(settings.target, engine.log_probs(prefix), weights)
        p = warp(
            penalised(log_p, engine.scale(ROWS[0], prefix), settings.penalties, prefix), settings.warp
        ).exp()
        leaves: dict[tuple[int, ...], float] = {}
        for token in range(VOCABULARY):
            if p[token] > 0:
                leaves |= grow((*prefix, token), mass * float(p[token]))
        return leaves

    return grow((), 1.0)


def chi_square(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> tuple[float, int]:
    """Pearson's statistic with cells of expectation under 5 pooled, and its degrees of freedom."""
    draws = counts.total()
    cells = [(counts[r], draws * p) for r, p in law.items() if draws * p >= 5]
    rest_seen, rest = draws - sum(c for c, _ in cells), draws - sum(e for _, e in cells)
    if rest >= 1:
        cells.append((rest_seen, rest))
    return sum((c - e) ** 2 / e for c, e in cells), len(cells) - 1


def assert_law(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> None:
    """Fails by chance about once in 10^6 (Wilson-Hilferty: chi-square beyond 4.75 sigma)."""
    assert set(counts) <= set(law), "a reply of probability zero was sampled"
    statistic, degrees = chi_square(counts, law)
    cube = (statistic / degrees) ** (1 / 3)
    spread = math.sqrt(2 / (9 * degrees))
    assert (cube - (1 - 2 / (9 * degrees))) / spread < 4.75


CASES = {
    "product": Settings((1.0, 0.8), end_tokens=frozenset({END})),
    "negative": Settings((1.5, -0.7), end_tokens=frozenset({END})),
    "mixture": Settings((1.0, 0.5), target="mixture", end_tokens=frozenset({END})),
    "top-p": Settings((1.0, 1.0), warp=Warp(top_p=0.8, temperature=1.3), end_tokens=frozenset({END})),
    "penalties": Settings(
        (1.0, 1.0),
        penalties=Penalties(1.5, 0.4, -0.3, ((1, 0.7), (2, -0.2))),
        warp=Warp(min_p=0.05),
        end_tokens=frozenset({END}),
    ),
    "greedy": Settings((1.0, 1.0), warp=Warp(temperature=0.0), end_tokens=frozenset({END})),
}


@pytest.mark.parametrize("case", CASES)
def test_exact_text_is_the_lock_step_text_for_every_drafter_and_chunk_size(case: str) -> None:
    lock_step = [r.tokens for r in sample(CASES[case], None, range(40), limit=7)]
    for (name, row), gamma in itertools.product(DRAFTERS.items(), (1, 2, 5, 8)):
        settings = Settings(**{**vars(CASES[case]), "chunk_size": gamma})
        assert [r.tokens for r in sample(settings, row, range(40), limit=7)] == lock_step, (name, gamma)


@pytest.mark.parametrize("case", ["product", "negative", "mixture", "top-p", "penalties"])
def test_exact_rule_has_the_law_of_the_target(case: str) -> None:
    draws = 6000
    counts = Counter(tuple(r.tokens) for r in sample(CASES[case], MERGED, range(draws)))
    assert_law(counts, reply_law(CASES[case]))


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_exact_rule_has_the_law_of_the_target_for_every_drafter(drafter: str) -> None:
    settings = Settings((1.0, 0.8), chunk_size=2, end_tokens=frozenset({END}))
    counts = Counter(tuple(r.tokens) for r in sample(settings, DRAFTERS[drafter], range(4000), seed=11))
    assert_law(counts, reply_law(settings))


@pytest.mark.parametrize("drafter, gamma", [("reference", 3), ("merged", 2), ("lookup", 3), ("none", 4)])
def test_block_rule_has_the_law_of_the_target_for_every_drafter(drafter: str, gamma: int) -> None:
    settings = Settings((1.0, 0.8), rule="block", chunk_size=gamma, end_tokens=frozenset({END}))
    counts = Counter(tuple(r.tokens) for r in sample(settings, DRAFTERS[drafter], range(4000), limit=4))
    assert_law(counts, reply_law(settings, limit=4))


@pytest.mark.parametrize("case", ["mixture", "top-p", "penalties"])
def test_block_rule_has_the_law_of_the_target(case: str) -> None:
    settings = replace(CASES[case], rule="block", chunk_size=3)
    counts = Counter(tuple(r.tokens) for r in sample(settings, MERGED, range(3000)))
    assert_law(counts, reply_law(settings))


def test_threshold_rule_has_the_law_of_the_penalised_target_where_nothing_is_clipped() -> None:
    settings = replace(
        CASES["penalties"], warp=Warp(), rule="threshold", chunk_size=2, threshold=Threshold(fixed=4.0)
    )
    replies = sample(settings, MERGED, range(4000))
    assert_law(Counter(tuple(r.tokens) for r in replies), reply_law(settings))


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_at_temperature_0_block_says_what_exact_says(drafter: str) -> None:
    greedy = replace(CASES["greedy"], chunk_size=3)
    (block,), (exact,) = (
        sample(replace(greedy, rule=rule), DRAFTERS[drafter], [0], limit=12) for rule in ("block", "exact")
    )
    assert block.tokens == exact.tokens


def near_law(row: int, prefix: tuple[int, ...]) -> tuple[float, ...]:
    """Rows that differ little from the reference: thresholds are low and much is kept."""
    mixed = [0.75 * x + 0.25 * y for x, y in zip(random_law(0, prefix), random_law(row, prefix), strict=True)]
    return tuple(mixed)


def true_maxima(settings: Settings, gamma: int, limit: int) -> tuple[float, ...]:
    """m_l = max(0, m_{l-1}, the largest a_l of any chunk from any prefix), by enumeration."""
    engine, drafter = FakeEngine(near_law, ROWS), FakeEngine(near_law, (MERGED,))
    weights = torch.tensor(settings.weights)
    most = [0.0] * gamma

    def walk(prefix: tuple[int, ...], a: float, place: int) -> None:
        if place == gamma or len(prefix) == limit or prefix[-1:] == (END,):
            for rest in range(place, gamma):  # padding: the log-ratio stays
                most[rest] = max(most[rest], a)
            return
        log_p = warp(combine(settings.target, engine.log_probs(prefix), weights), settings.warp)
        steps = log_p - drafter.log_probs(prefix)[0]
        for token in range(VOCABULARY):
            if log_p[token] > -torch.inf:
                most[place] = max(most[place], a + float(steps[token]))
                walk((*prefix, token), a + float(steps[token]), place + 1)

    for length in range(limit):
        for prefix in itertools.product(range(END), repeat=length):
            walk(prefix, 0.0, 0)
    return tuple(itertools.accumulate(most, max))


@pytest.mark.parametrize(
    "gamma, target, how, candidates, ahead",
    [
        (1, "product", Warp(), 1, 1),
        (2, "product", Warp(), 1, 1),
        (3, "product", Warp(), 1, 1),
        (2, "mixture", Warp(), 1, 1),
        (2, "product", Warp(top_p=0.8), 1, 1),
        (2, "product", Warp(), 4, 1),
        (1, "product", Warp(), 1, 3),
        (2, "product", Warp(), 3, 2),
    ],
)
def test_threshold_rule_has_the_law_of_the_target_when_nothing_is_clipped(
    gamma: int, target: Target, how: Warp, candidates: int, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true maxima as thresholds there is no bias; chunks are kept, salvaged and rejected."""
    settings = Settings(
        (0.8, 0.5),
        target=target,
        rule="threshold",
        chunk_size=gamma,
        warp=how,
        threshold=Threshold(candidates=candidates, ahead=ahead),
        end_tokens=frozenset({END}),
    )
    limit = gamma * ahead + 1
    maxima = true_maxima(settings, gamma, limit)
    monkeypatch.setattr(Window, "thresholds", lambda self, size: maxima[:size])
    replies = [Reply(Noise(3, n), limit) for n in range(6000 // (candidates * ahead))]
    engine = FakeEngine(near_law, ROWS, len(replies), candidates)
    drafter = RowDrafter(FakeEngine(near_law, (MERGED,), len(replies), candidates))
    rounds = list(Sampler(engine, drafter, settings, replies).run())
    assert all(
        a <= m + 1e-6
        for r in rounds
        for chunk in r.log_ratios or ()
        for a, m in zip(chunk, r.thresholds or (), strict=False)  # the token limit cuts chunks short
    )
    kept = Counter(r.kept for r in rounds if len(r.draft) == gamma * ahead)
    least = 20 if candidates == ahead == 1 else 1
    assert all(kept[length] >= least for length in range(gamma * ahead + 1)), kept
    assert {r.candidate for r in rounds} == set(range(candidates))
    assert_law(Counter(tuple(r.tokens) for r in replies), reply_law(settings, near_law, limit))


def test_thresholds_come_from_the_chunks_before_of_the_same_sequence() -> None:
    """Recomputed from the events alone, in a batch: fixed before the pass, one window a sequence."""
    settings = Settings((1.0, 0.8), rule="threshold", chunk_size=3, threshold=Threshold(window=20))
    replies = [Reply(Noise(4, n), 120) for n in range(3)]
    drafter = RowDrafter(FakeEngine(random_law, (MERGED,), 3))
    rounds = list(Sampler(FakeEngine(random_law, ROWS, 3), drafter, settings, replies).run())
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
        alone = Reply(Noise(4, reply.sequence), 120)
        single = RowDrafter(FakeEngine(random_law, (MERGED,)))
        again = list(Sampler(FakeEngine(random_law, ROWS), single, settings, [alone]).run())
        assert alone.tokens == reply.tokens
        assert [r.thresholds for r in again] == [r.thresholds for r in own]


def test_each_test_of_a_chunk_has_a_uniform_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []
    uniform = Noise.uniform

    def spy(self: Noise, position: int, stream: int, offset: int = 0) -> float:
        seen.append((position, stream, offset))
        return uniform(self, position, stream, offset)

    monkeypatch.setattr(Noise, "uniform", spy)
    sample(Settings((1.0, 0.8), rule="threshold", chunk_size=3), MERGED, [0], limit=20)
    assert len(set(seen)) == len(seen)
    assert {offset for _, _, offset in seen} == {0, 1, 2}


def test_under_threshold_the_drafter_is_not_truncated() -> None:
    """Under top-p 0.01 the target is greedy; masked likewise, the drafter could only propose its best."""
    settings = Settings((1.0, 0.8), rule="threshold", chunk_size=1, warp=Warp(top_p=0.01))
    replies = [Reply(Noise(1, n), 2) for n in range(200)]
    drafter = RowDrafter(FakeEngine(random_law, (MERGED,), len(replies)))
    rounds = Sampler(FakeEngine(random_law, ROWS, len(replies)), drafter, settings, replies).round()
    assert len({r.draft for r in rounds}) == VOCABULARY
    assert len({r.tokens[0] for r in rounds}) == 1


def test_a_blend_that_leaves_nothing_is_an_error() -> None:
    apart = lambda row, prefix: ((0.5, 0.5, 0, 0), (1.0, 0, 0, 0), (0, 1.0, 0, 0))[row]  # noqa: E731
    sampler = Sampler(FakeEngine(apart, ROWS), None, Settings((1.0, 1.0)), [Reply(Noise(0, 0), 5)])
    with pytest.raises(NumericsError, match="no token has any probability"):
        sampler.round()


@pytest.mark.parametrize("temperature", [1e-39, 1e-6, 0.0])
def test_tiny_temperatures_are_greedy(temperature: float) -> None:
    settings = Settings((1.0, 0.8), warp=Warp(temperature=temperature), end_tokens=frozenset({END}))
    greedy = Settings((1.0, 0.8), warp=Warp(temperature=0.0), end_tokens=frozenset({END}))
    assert sample(settings, MERGED, [0])[0].tokens == sample(greedy, MERGED, [0])[0].tokens


def test_a_batch_does_not_change_a_reply() -> None:
    for rule, drafter, how in (
        ("exact", 0, Threshold()),
        ("exact", LOOKUP, Threshold()),
        ("block", 0, Threshold()),
        ("block", LOOKUP, Threshold()),
        ("threshold", 0, Threshold(candidates=2, ahead=2)),
    ):
        settings = Settings(
            (1.0, 0.8),
            rule=rule,  # type: ignore[arg-type]
            chunk_size=3,
            threshold=how,
            end_tokens=frozenset({END}),
        )
        together = sample(settings, drafter, [0, "line-1", 2, 3, "x"], limit=9)
        for reply in together:
            alone = sample(settings, drafter, [reply.sequence], limit=9)[0]
            assert alone.tokens == reply.tokens
            assert alone.finish_reason == reply.finish_reason


def test_every_pass_commits_and_counts_add_up() -> None:
    engine = FakeEngine(random_law, ROWS)
    drafter = RowDrafter(FakeEngine(random_law, (MERGED,)))
    settings = Settings((1.0, 1.0), chunk_size=4)
    reply = Reply(Noise(1, 0), 50)
    rounds = list(Sampler(engine, drafter, settings, [reply]).run())
    assert engine.passes == len(rounds)
    assert all(len(r.tokens) >= 1 and r.kept <= r.tested <= len(r.draft) for r in rounds)
    assert [t for r in rounds for t in r.tokens] == reply.tokens
    assert len(reply.tokens) == 50
    assert [r.start for r in rounds] == list(itertools.accumulate([0] + [len(r.tokens) for r in rounds[:-1]]))
    assert engine.streams[0][0] == reply.tokens
    assert rounds[-1].finish_reason == "length"
    assert all(len(r.pull) == len(r.tokens) and len(r.pull[0]) == 2 for r in rounds)


def test_pull_of_the_product_is_the_weighted_log_ratio() -> None:
    engine = FakeEngine(random_law, ROWS)
    reply = Reply(Noise(5, 0), 6)
    rounds = list(Sampler(engine, None, Settings((0.5, -2.0)), [reply]).run())
    rows = FakeEngine(random_law, ROWS)
    for r in rounds:
        log_probs = rows.log_probs(reply.tokens[: r.start])[:, r.tokens[0]]
        expected = [0.5 * float(log_probs[1] - log_probs[0]), -2.0 * float(log_probs[2] - log_probs[0])]
        assert r.pull[0] == pytest.approx(expected, abs=1e-5)


def test_equal_experts_keep_every_chunk() -> None:
    """All experts equal to the reference: the target is the reference, every draft of it stands."""
    same = lambda row, prefix: random_law(0, prefix)  # noqa: E731
    for rule, how in (
        ("exact", Threshold()),
        ("block", Threshold()),
        ("threshold", Threshold()),
        ("threshold", Threshold(candidates=3, ahead=2)),
    ):
        engine = FakeEngine(same, ROWS, candidates=how.candidates)
        draft = RowDrafter(FakeEngine(same, (0,), candidates=how.candidates))
        settings = Settings((1.7, -0.4), rule=rule, chunk_size=4, threshold=how)  # type: ignore[arg-type]
        rounds = list(Sampler(engine, draft, settings, [Reply(Noise(2, 0), 41)]).run())
        assert all(r.kept == len(r.draft) for r in rounds), rule


def test_an_end_token_inside_a_chunk_ends_the_reply() -> None:
    law = lambda row, prefix: (0.0, 0.0, 0.0, 1.0) if len(prefix) == 2 else (0.5, 0.5, 0.0, 0.0)  # noqa: E731
    for rule in ("exact", "threshold", "block"):
        settings = Settings((1.0, 1.0), rule=rule, chunk_size=6, end_tokens=frozenset({END}))  # type: ignore[arg-type]
        reply = Reply(Noise(0, 0), 20)
        sampler = Sampler(FakeEngine(law, ROWS), RowDrafter(FakeEngine(law, (0,))), settings, [reply])
        rounds = list(sampler.run())
        assert len(reply.tokens) == 3
        assert reply.tokens[-1] == END
        assert rounds[-1].finish_reason == "stop"
        assert len(rounds[0].draft) <= 3


def test_a_lookup_cannot_serve_the_threshold_rule() -> None:
    with pytest.raises(ValueError, match="every token"):
        sample(Settings((1.0, 1.0), rule="threshold"), LOOKUP, [0])


def test_candidates_belong_to_the_threshold_rule() -> None:
    with pytest.raises(ValueError, match="rule threshold"):
        Settings((1.0, 1.0), rule="block", threshold=Threshold(candidates=2))


def test_counts_are_of_the_committed_candidate_and_drafted_of_all() -> None:
    settings = Settings(
        (1.0, 0.8), rule="threshold", chunk_size=2, threshold=Threshold(candidates=3, ahead=2)
    )
    engine = FakeEngine(random_law, ROWS, candidates=3)
    drafter = RowDrafter(FakeEngine(random_law, (MERGED,), candidates=3))
    reply = Reply(Noise(6, 0), 80)
    rounds = list(Sampler(engine, drafter, settings, [reply]).run())
    assert [t for r in rounds for t in r.tokens] == reply.tokens
    assert engine.streams[0] == [reply.tokens] * 3
    for r in rounds[:-5]:  # the last ones may be cut by the token limit
        assert len(r.draft) == 4
        assert r.drafted == 12
        assert r.tokens[: r.kept] == r.draft[: r.kept]
        assert len(r.thresholds or ()) == 2
        assert 3 <= len(r.log_ratios or ()) <= 6
    assert reply.window is not None
    assert len(reply.window.chunks) == 64


def test_stop_finishes_one_reply_and_leaves_the_others() -> None:
    engine = FakeEngine(random_law, ROWS, 2)
    replies = [Reply(Noise(1, 0), 30), Reply(Noise(1, 1), 30)]
    sampler = Sampler(engine, RowDrafter(FakeEngine(random_law, (0,), 2)), Settings((1.0, 1.0)), replies)
    for event in sampler.run():
        if event.sequence == 0:
            sampler.stop(0)
    assert len(replies[0].tokens) < 30
    assert len(replies[1].tokens) == 30
    assert replies[1].tokens == sample(Settings((1.0, 1.0)), None, [1], seed=1, limit=30)[0].tokens
