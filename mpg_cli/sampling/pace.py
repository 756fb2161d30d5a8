"""How long the next chunk should be, by what was accepted so far (algorithm page, section 5). Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

PRIOR_RATE, PRIOR_TESTED = 0.85, 8  # the acceptance rate before any test, and the tests it is worth
LONGEST = 16  # beyond it the rate says little: one rejection ends a chunk


@dataclass(frozen=True)
class Cost:
    """What a round costs, in any unit of time: gamma * (step + position) + score.

    `step` is a step of the drafter, `score` a score pass over one position, `position` each further one.
    """

    step: float = 1.0
    score: float = 1.6
    position: float = 0.1

    def of_round(self, gamma: int) -> float:
        """The time of a round that drafts gamma tokens."""
        return gamma * (self.step + self.position) + self.score

    def of_token(self, gamma: int, rates: Sequence[float]) -> float:
        """The time of a committed token."""
        return self.of_round(gamma) / committed(gamma, rates)


def committed(gamma: int, rates: Sequence[float]) -> float:
    """E[committed tokens a pass], 1 + sum over l of P(the first l drafted tokens are kept).

    `rates[l-1]` is the chance that token l is kept if those before it are; the last one holds beyond.
    """
    total = reached = 1.0
    for place in range(gamma):
        reached *= rates[min(place, len(rates) - 1)]
        total += reached
    return total


@lru_cache(maxsize=1024)
def best_chunk_size(percent: int, cost: Cost) -> int:
    """The gamma in 1 .. LONGEST whose token costs least at this acceptance rate, the shortest of equals."""
    return min(range(1, LONGEST + 1), key=lambda gamma: cost.of_token(gamma, (percent / 100,)))


@dataclass
class Pace:
    """The running acceptance of one reply and the chunk size that follows from it.

    It looks at the past of its own reply only, so that every round still samples the target, and a reply is
    the same in any batch. Under the exact rule, where no text depends on it, a whole batch shares one.
    """

    cost: Cost
    kept: int = field(default=0, init=False)
    tested: int = field(default=0, init=False)

    @property
    def rate(self) -> float:
        """The acceptance rate, with the prior."""
        return (self.kept + PRIOR_RATE * PRIOR_TESTED) / (self.tested + PRIOR_TESTED)

    @property
    def chunk_size(self) -> int:
        """gamma of the next round."""
        return best_chunk_size(round(100 * self.rate), self.cost)

    def add(self, tested: int, kept: int) -> None:
        """Count the drafted tokens of one more round."""
        self.tested += tested
        self.kept += kept
