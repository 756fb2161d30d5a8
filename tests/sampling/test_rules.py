"""The threshold rule by enumeration: one round, completed by the target, must have the target's law.

Every draft, every kept length and every completion of a four-token vocabulary with an end token is
enumerated in float64, so these are equalities and not estimates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch

from mpg_cli.sampling.rules import Threshold, Window, judge_exact, judge_threshold, keep_probability
from tests.sampling.fake import END, VOCABULARY, random_law

Law = Callable[[tuple[int, ...]], Sequence[float]]
Judge = Callable[[Sequence[float], Sequence[float]], list[float]]  # (a, m) -> P(keep = 0 .. gamma)


def ended(prefix: tuple[int, ...]) -> bool:
    return END in prefix


def padded(law: Law) -> Law:
    """The law with all mass on padding (here: the end token again) after the end."""
    return lambda prefix: (0.0, 0.0, 0.0, 1.0) if ended(prefix) else law(prefix)


def target(prefix: tuple[int, ...]) -> Sequence[float]:
    """A product of two experts over a reference, normalised per token."""
    rows = [torch.tensor(random_law(row, prefix), dtype=torch.float64).log() for row in range(3)]
    return torch.softmax(rows[0] + 0.9 * (rows[1] - rows[0]) + 0.6 * (rows[2] - rows[0]), 0).tolist()


def drafter(prefix: tuple[int, ...]) -> Sequence[float]:
    return random_law(0, prefix)


P, Q = padded(target), padded(drafter)


def strings(length: int) -> list[tuple[int, ...]]:
    """All token strings of that length in which only padding follows an end."""
    return [
        s
        for s in itertools.product(range(VOCABULARY), repeat=length)
        if END not in s or all(t == END for t in s[s.index(END) :])
    ]


def mass(law: Law, string: tuple[int, ...], start: int = 0) -> float:
    return math.prod(law(string[:i])[string[i]] for i in range(start, len(string)))


def ratios(chunk: tuple[int, ...], p: Law = P, q: Law = Q) -> list[float]:
    steps = [math.log(p(chunk[:i])[t]) - math.log(q(chunk[:i])[t]) for i, t in enumerate(chunk)]
    return list(itertools.accumulate(steps))


def nested(a: Sequence[float], m: Sequence[float]) -> list[float]:
    """P(keep = L) of the rule under test, from its keep probabilities."""
    chances, left = [0.0] * (len(a) + 1), 1.0
    for length in range(len(a), 0, -1):
        chances[length] = left * keep_probability(length, a, m)
        left -= chances[length]
    chances[0] = left
    return chances


def maxima(gamma: int, q: Law = Q) -> list[float]:
    """The true thresholds: m_l = max(0, m_{l-1}, max over chunks of a_l)."""
    m: list[float] = []
    for place in range(gamma):
        m.append(max([0.0, *m, *(ratios(c, q=q)[place] for c in strings(gamma) if mass(q, c) > 0)]))
    return m


def completed(gamma: int, m: Sequence[float], judge: Judge = nested, q: Law = Q, p: Law = P) -> float:
    """Total variation between one round completed by p to length gamma+1, and p."""
    law = dict.fromkeys(strings(gamma + 1), 0.0)
    for chunk in strings(gamma):
        weight = mass(q, chunk)
        if weight == 0:
            continue
        for kept, chance in enumerate(judge(ratios(chunk, p, q), m)):
            for string in law:
                if string[:kept] == chunk[:kept]:
                    law[string] += weight * chance * mass(p, string, kept)
    return sum(abs(law[s] - mass(p, s)) for s in law) / 2


@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_one_round_completed_by_the_target_has_its_law(gamma: int) -> None:
    assert completed(gamma, maxima(gamma)) < 1e-12
    assert completed(gamma, [m + 0.3 * i for i, m in enumerate(maxima(gamma), 1)]) < 1e-12


@pytest.mark.parametrize("gamma", [2, 3])
def test_unclipped_keeps_are_independent_of_the_text(gamma: int) -> None:
    """Mean over drafts and, stronger, the joint of the kept prefix: P(c_1..c_l, keep >= l) = p e^{-m_l}."""
    m = maxima(gamma)
    for length in range(1, gamma + 1):
        for prefix in strings(length):
            joint = sum(
                mass(Q, c) * sum(nested(ratios(c), m)[length:])
                for c in strings(gamma)
                if c[:length] == prefix
            )
            assert joint == pytest.approx(mass(P, prefix) * math.exp(-m[length - 1]), abs=1e-12)


@pytest.mark.parametrize("gamma", [1, 2, 3])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_thresholds_too_low_stay_within_the_bound(gamma: int, share: float) -> None:
    m = [share * x for x in maxima(gamma)]
    chunks = [c for c in strings(gamma) if mass(Q, c) > 0]
    bound = sum(
        length
        * math.exp(-m[length - 1])
        * sum(
            mass(Q, c) * max(0.0, math.exp(ratios(c)[length - 1]) - math.exp(m[length - 1])) for c in chunks
        )
        for length in range(1, gamma + 1)
    )
    distance = completed(gamma, m)
    assert 1e-4 < distance <= bound


def test_judge_follows_the_keep_probabilities() -> None:
    """On a grid of uniforms the frequencies of the judge are the products of its chances."""
    a, m, steps = [0.2, -0.4, 0.5], [0.6, 0.8, 0.9], 60
    grid = [(i + 0.5) / steps for i in range(steps)]
    kept = [judge_threshold(a, m, u) for u in itertools.product(grid, repeat=3)]
    for length, chance in enumerate(nested(a, m)):
        assert kept.count(length) / len(kept) == pytest.approx(chance, abs=2 / steps)


# -- negative controls: each must show its harm, or these tests could not see it ---------------------


def separate(a: Sequence[float], m: Sequence[float]) -> list[float]:
    """Keep the longest prefix that passes its own test."""
    chances, left = [0.0] * (len(a) + 1), 1.0
    for length in range(len(a), 0, -1):
        chances[length] = left * min(1.0, math.exp(a[length - 1] - m[length - 1]))
        left -= chances[length]
    chances[0] = left
    return chances


def shared_noise(a: Sequence[float], m: Sequence[float]) -> list[float]:
    """One uniform for all the tests of a chunk."""
    chances, reached = [0.0] * (len(a) + 1), 0.0
    for length in range(len(a), 0, -1):
        b = keep_probability(length, a, m)
        chances[length] = max(0.0, b - reached)
        reached = max(reached, b)
    chances[0] = 1 - reached
    return chances


@pytest.mark.parametrize("judge", [separate, shared_noise])
def test_control_other_salvages_are_biased(judge: Judge) -> None:
    assert completed(3, maxima(3), judge) > 0.003


def test_control_a_masked_drafter_loses_tokens() -> None:
    def masked(prefix: tuple[int, ...]) -> Sequence[float]:
        law = list(drafter(prefix))
        law[law.index(min(law))] = 0.0
        return [x / sum(law) for x in law]

    q = padded(masked)
    assert completed(2, maxima(2, q), q=q) > 0.01


def test_control_a_threshold_of_its_own_for_ended_chunks_is_biased() -> None:
    """Chunks cut short by the end must not get the smaller maximum of ended chunks."""
    gamma, m = 2, maxima(2)
    ends = [max(0.0, max(ratios(c)[i] for c in strings(gamma) if END in c)) for i in range(gamma)]
    law = dict.fromkeys(strings(gamma + 1), 0.0)
    for chunk in strings(gamma):
        for kept, chance in enumerate(nested(ratios(chunk), ends if END in chunk else m)):
            for string in law:
                if string[:kept] == chunk[:kept]:
                    law[string] += mass(Q, chunk) * chance * mass(P, string, kept)
    assert sum(abs(law[s] - mass(P, s)) for s in law) / 2 > 0.001


# -- the pieces ------------------------------------------------------------------------------------


def test_judge_exact_stops_at_the_first_difference() -> None:
    assert judge_exact([1, 2, 3], [1, 2, 3, 0]) == 3
    assert judge_exact([1, 2, 3], [1, 0]) == 1
    assert judge_exact([1], [2]) == 0
    assert judge_exact([], [2]) == 0


def test_impossible_tokens_are_never_kept() -> None:
    a = [0.1, -math.inf, -math.inf]
    assert keep_probability(3, a, [1.0, 1.0, 1.0]) == 0
    assert keep_probability(2, a, [1.0, 1.2, 1.4]) == 0
    assert judge_threshold(a, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]) == 1


def test_window_thresholds() -> None:
    window = Window(Threshold(window=20))
    for i in range(15):
        window.add((float(i), -float(i)))
    assert window.thresholds(2) == (0.0, 0.0)  # too few yet
    window.add((0.0, 0.0))
    assert window.thresholds(2) == (14.0, 14.0)  # m_2 never below m_1
    assert window.thresholds(3) == (14.0, 14.0, 14.0)  # no chunk was that long
    for _ in range(20):
        window.add((-1.0, 0.5))
    assert window.thresholds(2) == (0.0, 0.5)  # the old ones slid out, never below 0
    assert Window(Threshold(fixed=0.7)).thresholds(2) == (0.7, 0.7)
    low = Window(Threshold(quantile=0.5, window=64))
    for i in range(21):
        low.add((float(i),))
    assert low.thresholds(1) == (10.0,)
