"""The threshold rule by enumeration (see `enumeration`), its negative controls, and its parts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest

from mpg_cli.sampling.params import Threshold
from mpg_cli.sampling.state import Window
from mpg_cli.sampling.stats import excess
from mpg_cli.sampling.verification import accept_chunks, accept_probability, accept_threshold
from tests.sampling.enumeration import Law, P, Q, drafter, ended, mass, padded, ratios, strings
from tests.sampling.fake import END

Accept = Callable[[Sequence[float], Sequence[float]], list[float]]  # (a, m) -> P(L = 0 .. gamma)


def nested(a: Sequence[float], m: Sequence[float]) -> list[float]:
    """P(L = 0 .. gamma) of the rule under test, from its acceptance probabilities."""
    chances, left = [0.0] * (len(a) + 1), 1.0
    for length in range(len(a), 0, -1):
        chances[length] = left * accept_probability(length, a, m)
        left -= chances[length]
    chances[0] = left
    return chances


def maxima(gamma: int, q: Law = Q) -> list[float]:
    """The true thresholds: m_l = max(0, m_{l-1}, max over chunks of a_l)."""
    m: list[float] = []
    for place in range(gamma):
        m.append(max([0.0, *m, *(ratios(c, q=q)[place] for c in strings(gamma) if mass(q, c) > 0)]))
    return m


def completed(gamma: int, m: Sequence[float], accept: Accept = nested, q: Law = Q, p: Law = P) -> float:
    """Total variation between one round completed by p to length gamma+1, and p."""
    law = dict.fromkeys(strings(gamma + 1), 0.0)
    for chunk in strings(gamma):
        weight = mass(q, chunk)
        if weight == 0:
            continue
        for accepted, chance in enumerate(accept(ratios(chunk, p, q), m)):
            for string in law:
                if string[:accepted] == chunk[:accepted]:
                    law[string] += weight * chance * mass(p, string, accepted)
    return sum(abs(law[s] - mass(p, s)) for s in law) / 2


@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_one_round_completed_by_the_target_has_its_law(gamma: int) -> None:
    assert completed(gamma, maxima(gamma)) < 1e-12
    assert completed(gamma, [m + 0.3 * i for i, m in enumerate(maxima(gamma), 1)]) < 1e-12


@pytest.mark.parametrize("gamma", [2, 3])
def test_unclipped_acceptance_is_independent_of_the_text(gamma: int) -> None:
    """Mean over drafts and, stronger, the joint of the accepted prefix: P(c_1..c_l, L >= l) = p e^{-m_l}."""
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


def test_acceptance_follows_its_probabilities() -> None:
    """On a grid of uniforms the frequencies of accepted lengths are the products of its chances."""
    a, m, steps = [0.2, -0.4, 0.5], [0.6, 0.8, 0.9], 60
    grid = [(i + 0.5) / steps for i in range(steps)]
    accepted = [accept_threshold(a, m, u) for u in itertools.product(grid, repeat=3)]
    for length, chance in enumerate(nested(a, m)):
        assert accepted.count(length) / len(accepted) == pytest.approx(chance, abs=2 / steps)


# -- several candidates, several chunks ahead -----------------------------------------------------

Accepted = dict[tuple[int, tuple[int, ...]], float]  # (L with its padding, accepted tokens) -> probability


def accepted_law(gamma: int, ahead: int, m: Sequence[float], tests_padding: bool = True) -> Accepted:
    """What one candidate of several chunks accepts, over all its drafts."""
    law: Accepted = {}
    for draft in strings(gamma * ahead):
        reached, accepted = mass(Q, draft), 0
        for w in range(ahead):
            before = draft[: w * gamma]
            chunk = draft[w * gamma : (w + 1) * gamma]
            if not tests_padding and ended(before):
                accepted += gamma
                continue
            a = list(
                itertools.accumulate(
                    math.log(P((*before, *chunk[:i]))[t]) - math.log(Q((*before, *chunk[:i]))[t])
                    for i, t in enumerate(chunk)
                )
            )
            chances = nested(a, m)
            for length in range(gamma):
                state = (accepted + length, draft[: accepted + length])
                law[state] = law.get(state, 0.0) + reached * chances[length]
            reached *= chances[gamma]
            accepted += gamma
        law[accepted, draft] = law.get((accepted, draft), 0.0) + reached
    return law


def longest_of(candidates: int, one: Accepted) -> Accepted:
    """The longest accepted prefix of independent candidates; of equals, that of the first."""
    exactly = [0.0] * (1 + max(length for length, _ in one))
    for (length, _), chance in one.items():
        exactly[length] += chance
    below = [sum(exactly[:length]) for length in range(len(exactly))]  # P(L < l)
    return {
        (length, text): chance
        * sum(
            below[length] ** before * (below[length] + exactly[length]) ** (candidates - 1 - before)
            for before in range(candidates)
        )
        for (length, text), chance in one.items()
    }


def completion(law: Accepted, size: int) -> float:
    """Total variation between accepted prefixes completed by p to `size` tokens, and p."""
    whole = dict.fromkeys(strings(size), 0.0)
    for (_, text), chance in law.items():
        for string in whole:
            if string[: len(text)] == text:
                whole[string] += chance * mass(P, string, len(text))
    return sum(abs(whole[s] - mass(P, s)) for s in whole) / 2


def chunk_maxima(gamma: int, ahead: int) -> list[float]:
    """m_l over the chunks that begin after 0, gamma, 2 gamma ... drafted tokens."""
    most = [0.0] * gamma
    for w in range(ahead):
        for draft in strings(gamma * (w + 1)):
            a = 0.0
            for i in range(gamma):
                prefix, token = draft[: w * gamma + i], draft[w * gamma + i]
                a += math.log(P(prefix)[token]) - math.log(Q(prefix)[token])
                most[i] = max(most[i], a)
    return list(itertools.accumulate(most, max))


@pytest.mark.parametrize("gamma, ahead", [(2, 1), (3, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("candidates", [1, 4])
def test_candidates_and_chunks_ahead_have_the_law_of_the_target(
    gamma: int, ahead: int, candidates: int
) -> None:
    m = chunk_maxima(gamma, ahead)
    law = longest_of(candidates, accepted_law(gamma, ahead, m))
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    assert completion(law, gamma * ahead + 1) < 1e-12


@pytest.mark.parametrize("ahead, candidates", [(1, 3), (2, 1), (2, 3)])
def test_the_bound_holds_for_candidates_and_chunks_ahead(ahead: int, candidates: int) -> None:
    """Sum over the verified chunks of sum_l l e^{-m_l} (e^{a_l} - e^{m_l})+, as the statistics have it."""
    gamma, m = 2, [0.3 * x for x in chunk_maxima(2, ahead)]
    bound = 0.0
    for draft in strings(gamma * ahead):
        reached = mass(Q, draft)
        for w in range(ahead):
            places = range(w * gamma, (w + 1) * gamma)
            steps = [math.log(P(draft[:i])[draft[i]] / Q(draft[:i])[draft[i]]) for i in places]
            a = list(itertools.accumulate(steps))
            over = [
                length * math.exp(-m_l) * excess(a_l, m_l)
                for length, (a_l, m_l) in enumerate(zip(a, m, strict=True), 1)
            ]
            bound += candidates * reached * sum(over)
            reached *= nested(a, m)[gamma]
    distance = completion(longest_of(candidates, accepted_law(gamma, ahead, m)), gamma * ahead + 1)
    assert 1e-4 < distance <= bound


def test_chunks_ahead_are_verified_until_one_is_not_accepted_whole() -> None:
    m = [0.5, 0.7]
    sure, never = [0.9, 0.9], [-math.inf, -math.inf]
    u = [[0.5, 0.5]] * 3
    assert accept_chunks([sure, sure, sure], m, u) == (6, 3)
    assert accept_chunks([sure, never, sure], m, u) == (2, 2)
    assert accept_chunks([never, sure, sure], m, u) == (0, 1)
    assert accept_chunks([[0.6, -math.inf], sure], m, u[:2]) == (1, 1)
    assert accept_chunks([sure, [0.9]], m, [[0.5, 0.5], [0.5]]) == (3, 2)  # cut short by the token limit
    assert accept_chunks([], m, []) == (0, 0)


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
        b = accept_probability(length, a, m)
        chances[length] = max(0.0, b - reached)
        reached = max(reached, b)
    chances[0] = 1 - reached
    return chances


def page_by_page(a: Sequence[float], m: Sequence[float]) -> list[float]:
    """Salvage from the front: each further token is tested by what it adds, until one fails."""
    whole = min(1.0, math.exp(a[-1] - m[-1]))
    chances, reached = [0.0] * (len(a) + 1), 1 - whole
    for place, (ratio, threshold) in enumerate(zip(a, m, strict=True)):
        step = ratio - threshold - (a[place - 1] - m[place - 1] if place else 0.0)
        passed = min(1.0, math.exp(step)) if place < len(a) - 1 else 0.0
        chances[place] += reached * (1 - passed)
        reached *= passed
    chances[len(a)] = whole + reached
    return chances


@pytest.mark.parametrize("accept, least", [(separate, 0.003), (shared_noise, 0.003), (page_by_page, 5e-4)])
def test_control_other_salvages_are_biased(accept: Accept, least: float) -> None:
    assert completed(3, maxima(3), accept) > least


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
        for accepted, chance in enumerate(nested(ratios(chunk), ends if END in chunk else m)):
            for string in law:
                if string[:accepted] == chunk[:accepted]:
                    law[string] += mass(Q, chunk) * chance * mass(P, string, accepted)
    assert sum(abs(law[s] - mass(P, s)) for s in law) / 2 > 0.001


def test_control_padding_that_is_not_tested_is_biased() -> None:
    """Ended candidates would be accepted longer than others, and so be chosen more often."""
    law = accepted_law(1, 2, chunk_maxima(1, 2), tests_padding=False)
    assert completion(longest_of(4, law), 3) > 0.03


# -- the parts --------------------------------------------------------------------------------------


def test_impossible_tokens_are_never_accepted() -> None:
    a = [0.1, -math.inf, -math.inf]
    assert accept_probability(3, a, [1.0, 1.0, 1.0]) == 0
    assert accept_probability(2, a, [1.0, 1.2, 1.4]) == 0
    assert accept_threshold(a, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]) == 1


def test_window_thresholds() -> None:
    window = Window(Threshold(window=20))
    for i in range(15):
        window.add([(float(i), -float(i))])
    assert window.thresholds(2) == (0.0, 0.0)  # too few yet
    window.add([(0.0, 0.0)])
    assert window.thresholds(2) == (14.0, 14.0)  # m_2 never below m_1
    assert window.thresholds(3) == (14.0, 14.0, 14.0)  # no chunk was that long
    for _ in range(20):
        window.add([(-1.0, 0.5)])
    assert window.thresholds(2) == (0.0, 0.5)  # the old ones slid out, never below 0
    assert Window(Threshold("fixed:0.7")).thresholds(2) == (0.7, 0.7)
    low = Window(Threshold("0.5", window=64))
    for i in range(21):
        low.add([(float(i),)])
    assert low.thresholds(1) == (10.0,)
