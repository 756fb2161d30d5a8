"""Block verification by enumeration (see `enumeration`), and the rule `exact` on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from mpg_cli.sampling.verification import accept_block, accept_exact, block_acceptance
from tests.sampling.enumeration import Law, P, Q, mass, padded, strings
from tests.sampling.fake import END, VOCABULARY


def block_round(gamma: int, q: Law, change: Callable[[list[float]], list[float]] = list) -> float:
    """Total variation between one round of rule `block`, completed by p to gamma+1 tokens, and p."""
    law = dict.fromkeys(strings(gamma + 1), 0.0)
    for draft in strings(gamma):
        weight = mass(q, draft)
        if weight == 0:
            continue
        chunk = draft[: draft.index(END) + 1] if END in draft else draft
        prefixes = [chunk[:i] for i in range(len(chunk) + 1)]
        log_p = torch.tensor([P(prefix) for prefix in prefixes], dtype=torch.float64).log()
        log_q = torch.tensor([q(prefix) for prefix in prefixes[:-1]], dtype=torch.float64).log()
        h, laws = block_acceptance(log_p, log_q, chunk)
        after = laws.softmax(-1).tolist()
        left = 1.0
        for accepted in range(len(chunk), -1, -1):
            chance = left * change(h)[accepted - 1] if accepted else left
            left -= chance
            for string in law:
                if string[:accepted] == chunk[:accepted]:
                    law[string] += (
                        weight * chance * after[accepted][string[accepted]] * mass(P, string, accepted + 1)
                    )
    return sum(abs(law[s] - mass(P, s)) for s in law) / 2


def certain(prefix: tuple[int, ...]) -> Sequence[float]:
    """A lookup's law: all on one token."""
    token = sum(prefix) % 3
    return [float(v == token) for v in range(VOCABULARY)]


@pytest.mark.parametrize("gamma", [1, 2, 3])
@pytest.mark.parametrize("q", [Q, padded(certain)], ids=["row", "lookup"])
def test_block_rounds_have_the_law_of_the_target(gamma: int, q: Law) -> None:
    assert block_round(gamma, q) < 1e-12


def test_block_accepts_at_least_what_token_by_token_verification_accepts() -> None:
    """Expected accepted tokens against those of standard speculative sampling, by enumeration."""
    gamma, block, tokenwise = 3, 0.0, 0.0
    for draft in strings(gamma):
        weight, pi = mass(Q, draft), 1.0
        log_p = torch.tensor([P(draft[:i]) for i in range(gamma + 1)], dtype=torch.float64).log()
        log_q = torch.tensor([Q(draft[:i]) for i in range(gamma)], dtype=torch.float64).log()
        h, _ = block_acceptance(log_p, log_q, draft)
        left = 1.0
        for accepted in range(gamma, 0, -1):
            block += weight * left * h[accepted - 1] * accepted
            left *= 1 - h[accepted - 1]
        for i, token in enumerate(draft):
            pi *= min(1.0, P(draft[:i])[token] / Q(draft[:i])[token])
            tokenwise += weight * pi
    assert block > tokenwise + 0.01


def test_control_a_block_rule_that_accepts_too_readily_is_biased() -> None:
    assert block_round(2, Q, lambda h: [min(1.0, chance + 0.1) for chance in h]) > 0.003


def test_accept_block_accepts_the_longest_that_passes() -> None:
    assert accept_block([0.2, 0.9, 0.4], [0.9, 0.5, 0.5]) == 2
    assert accept_block([0.2, 0.9, 0.4], [0.1, 0.95, 0.5]) == 1
    assert accept_block([0.2], [0.3]) == 0
    assert accept_block([], []) == 0


@pytest.mark.parametrize("probabilities", [(0.25, 0.25, 0.25, 0.25), (1.0, 0.0, 0.0, 0.0)])
def test_a_draft_from_the_target_stays_whole(probabilities: tuple[float, ...]) -> None:
    log_p = torch.tensor([probabilities] * 4).log()
    h, laws = block_acceptance(log_p, log_p[:3], [0, 0, 0])
    assert h[-1] == 1
    assert not laws.isnan().any()


def test_accept_exact_stops_at_the_first_difference() -> None:
    assert accept_exact([1, 2, 3], [1, 2, 3, 0]) == 3
    assert accept_exact([1, 2, 3], [1, 0]) == 1
    assert accept_exact([1], [2]) == 0
    assert accept_exact([], [2]) == 0
