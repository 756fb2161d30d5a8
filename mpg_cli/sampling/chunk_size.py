"""The adaptive chunk size: a cost model of a round, and the acceptance so far.

Source: docs/algorithm.md, "Chunk size".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mpg_cli.sampling.stats import Stats

PRIOR_RATE, PRIOR_EVALUATED = 0.85, 8  # prior acceptance rate, and its weight in evaluated tokens
MAX_ADAPTIVE = 16  # tokens; the estimate degrades for longer chunks, which end at one rejection


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


def adaptive_chunk_size(stats: Stats, cost: Cost) -> int:
    """gamma of the next round, from the acceptance so far and a prior worth PRIOR_EVALUATED tokens."""
    accepted = stats.accepted + PRIOR_RATE * PRIOR_EVALUATED
    return best_chunk_size(round(100 * accepted / (stats.evaluated + PRIOR_EVALUATED)), cost)


@lru_cache(maxsize=1024)
def best_chunk_size(percent: int, cost: Cost) -> int:
    """The gamma in 1 .. MAX_ADAPTIVE with the least cost a token at this acceptance rate; ties: the least."""
    return min(range(1, MAX_ADAPTIVE + 1), key=lambda gamma: cost.of_token(gamma, (percent / 100,)))
