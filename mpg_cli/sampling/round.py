"""One SCR round as a value: what the sampler yields, and the only thing that it says. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

FinishReason = Literal["stop", "length", "interrupted"]


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds by phase."""

    prefill: float = 0.0
    draft: float = 0.0
    score: float = 0.0
    judge: float = 0.0

    @property
    def total(self) -> float:
        return self.prefill + self.draft + self.score + self.judge

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            self.prefill + other.prefill,
            self.draft + other.draft,
            self.score + other.score,
            self.judge + other.judge,
        )


@dataclass(frozen=True)
class Round:
    """One SCR round of one sequence: draft, score, judge, commit (algorithm page, section 4).

    `tokens` are the committed ones: the kept prefix and the token after it, cut at an end token or
    at the token limit. `pull[j][i]` is what persona i added to committed token j: w_i * delta_i under
    the product, the responsibility of expert i under the mixture. Of several candidates, `draft`, `tested`
    and `kept` are those of the one that was committed. Thresholds and log-ratios belong to the threshold
    rule and are None elsewhere.
    """

    type: ClassVar[str] = "round"
    sequence: int | str
    start: int  # position in the reply where the round begins, from 0
    draft: tuple[int, ...]
    tested: int  # drafted tokens up to and including the first that was rejected
    kept: int
    tokens: tuple[int, ...]
    pull: tuple[tuple[float, ...], ...]
    seconds: Seconds
    drafted: int = 0  # tokens of all candidates
    steps: int = 0  # passes of the drafter's row that this took, over all candidates at once
    candidate: int = 0  # the one that was committed
    thresholds: tuple[float, ...] | None = None  # m_1 .. m_gamma, fixed before the pass
    log_ratios: tuple[tuple[float, ...], ...] | None = None  # a_1 .. a_gamma of every judged chunk
    finish_reason: FinishReason | None = None
