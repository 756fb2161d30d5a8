"""The adaptive chunk size: a cost model of a round, and the acceptance so far.

Source: docs/algorithm.md, "Chunk size".

gamma is the size of least expected cost a token, 0 (no draft) included. A size of 0 gives no evidence, so the
acceptance rate is estimated with confidence: the less was evaluated, the higher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

PRIOR_EVALUATED = 8  # weight of the prior acceptance rate, in evaluated tokens
MAX_ADAPTIVE = 16  # tokens; the estimate degrades for longer chunks, which end at one rejection


@dataclass(frozen=True)
class Acceptance:
    """Accepted of evaluated tokens, and the rate that is expected before the first."""

    prior: float = 0.85
    accepted: int = 0
    evaluated: int = 0

    def plus(self, accepted: int, evaluated: int) -> Acceptance:
        """The same with further tokens."""
        return Acceptance(self.prior, self.accepted + accepted, self.evaluated + evaluated)

    @property
    def rate(self) -> float:
        """`hopeful`, but the prior before the first evaluated token."""
        return self.hopeful if self.evaluated else self.prior

    @property
    def hopeful(self) -> float:
        """The upper end of the standard error around the mean with the prior."""
        weight = self.evaluated + PRIOR_EVALUATED
        mean = (self.accepted + self.prior * PRIOR_EVALUATED) / weight
        return min(0.99, mean + math.sqrt(mean * (1 - mean) / weight))


@dataclass(frozen=True)
class Cost:
    """Cost model of a round, in any unit of time: gamma * (step + position) + score.

    `step` is the cost of a drafter step, `score` of a score pass over one position, `position` of each
    further position.
    """

    step: float = 1.0
    score: float = 1.6
    position: float = 0.1

    def of_round(self, gamma: int) -> float:
        """Cost of a round that drafts gamma tokens."""
        return gamma * (self.step + self.position) + self.score

    def of_token(self, gamma: int, rates: Sequence[float]) -> float:
        """Expected cost of a committed token."""
        return self.of_round(gamma) / expected_committed(gamma, rates)


def expected_committed(gamma: int, rates: Sequence[float]) -> float:
    """E[committed tokens a pass], 1 + sum over l of P(the first l drafted tokens are accepted).

    `rates[l-1]` is the probability that token l is accepted given that those before it are; the last rate
    holds for all further tokens.
    """
    total = reached = 1.0
    for i in range(gamma):
        reached *= rates[min(i, len(rates) - 1)]
        total += reached
    return total


def adaptive_chunk_size(acceptance: Acceptance, cost: Cost) -> int:
    """gamma of the next round."""
    return best_chunk_size(round(100 * acceptance.rate), cost)


@lru_cache(maxsize=1024)
def best_chunk_size(percent: int, cost: Cost) -> int:
    """The gamma in 0 .. MAX_ADAPTIVE with the least cost a token at this acceptance rate; ties: the least."""
    return min(range(MAX_ADAPTIVE + 1), key=lambda gamma: cost.of_token(gamma, (percent / 100,)))
