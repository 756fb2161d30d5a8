"""One round (`Round`) and the statistics of many (`Stats`; docs/algorithm.md, "What is counted").

Torch-free. All counts are made here: the sampler adds each round to the statistics of its sequence, and
the round carries the sum. Statistics of several replies add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from operator import add
from typing import Any, ClassVar, Literal

FinishReason = Literal["stop", "length", "interrupted"]

INTERNAL = {"reached", "contributions", "rounds", "verified", "excess", "bias"}  # fields that JSON leaves out


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds by phase."""

    prefill: float = 0.0
    draft: float = 0.0
    score: float = 0.0
    verify: float = 0.0

    @property
    def decoding(self) -> float:
        """All phases but prefill."""
        return self.draft + self.score + self.verify

    @property
    def total(self) -> float:
        return self.prefill + self.decoding

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            self.prefill + other.prefill,
            self.draft + other.draft,
            self.score + other.score,
            self.verify + other.verify,
        )


@dataclass(frozen=True)
class Stats:
    """Counts of one reply, or the sum over several.

    accepted / evaluated is the acceptance rate, committed / passes the mean number of tokens a score pass.
    `histogram[l]` counts the rounds that accepted l drafted tokens, `reached[l]` those in which l were
    accepted and one more was drafted; a lookup without a match counts as a rejected first token.
    Threshold rule: `clipped` of the verified `chunks` had a log-ratio above their threshold, `excess[l-1]`
    sums (e^{a_l} - e^{m_l})+ over the `verified[l-1]` chunks of at least l tokens (kappa_l is the mean),
    `thresholds` are the latest ones of full length.
    """

    drafted: int = 0
    evaluated: int = 0
    accepted: int = 0
    committed: int = 0
    passes: int = 0
    steps: int = 0  # forward passes of the drafter
    histogram: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    contributions: tuple[float, ...] = ()  # K, summed over the committed tokens
    chunks: int = 0  # chunks verified against thresholds, of all candidates
    rounds: int = 0  # that verified them
    clipped: int = 0
    verified: tuple[int, ...] = ()
    excess: tuple[float, ...] = ()
    bias: float = 0.0  # sum over rounds of sum_l l * e^{-m_l} * (e^{a_l} - e^{m_l})+
    thresholds: tuple[float, ...] | None = None
    seconds: Seconds = field(default_factory=Seconds)

    @classmethod
    def of(cls, r: Round) -> Stats:
        """The statistics of one round."""
        room = r.finish_reason != "length"  # at the token limit nothing is drafted
        counted = cls(
            drafted=r.drafted,
            evaluated=r.evaluated,
            accepted=r.accepted,
            committed=len(r.tokens),
            passes=1,
            steps=r.steps,
            histogram=(*[0] * r.accepted, 1),
            reached=(1,) * min(r.accepted + 1, len(r.draft) or int(room)),
            contributions=tuple(map(math.fsum, zip(*r.contributions, strict=True))),
            seconds=r.seconds,
        )
        if not r.log_ratios or not r.thresholds:
            return counted
        return counted + cls._of_chunks(r.log_ratios, r.thresholds)

    @classmethod
    def _of_chunks(cls, chunks: Sequence[Sequence[float]], m: tuple[float, ...]) -> Stats:
        """The statistics of the chunks verified in one round of the threshold rule."""
        pairs = [list(zip(a, m, strict=False)) for a in chunks]  # the last chunk may be short
        over = [[excess(a_l, m_l) for a_l, m_l in pair] for pair in pairs]
        return cls(
            chunks=len(pairs),
            rounds=1,
            clipped=sum(any(a_l > m_l for a_l, m_l in pair) for pair in pairs),
            verified=tuple(sum(len(own) > i for own in over) for i in range(max(map(len, over)))),
            excess=tuple(map(math.fsum, zip_longest(*over, fillvalue=0.0))),
            bias=math.fsum(
                (i + 1) * math.exp(-m[i]) * amount for own in over for i, amount in enumerate(own)
            ),
            thresholds=m,
        )

    def __add__(self, other: Stats) -> Stats:
        sums = {name: _sum(getattr(self, name), getattr(other, name)) for name in _SUMMED}
        mine, theirs = self.thresholds, other.thresholds
        return Stats(**sums, thresholds=theirs if len(theirs or ()) >= len(mine or ()) else mine)

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted / evaluated tokens; None when nothing was evaluated (token-by-token decoding)."""
        return self.accepted / self.evaluated if self.evaluated else None

    @property
    def committed_per_pass(self) -> float | None:
        return self.committed / self.passes if self.passes else None

    @property
    def tokens_per_second(self) -> float | None:
        """Committed tokens over decoding time, prefill excluded."""
        spent = self.seconds.decoding
        return self.committed / spent if spent > 0 else None

    @property
    def mean_contributions(self) -> tuple[float, ...] | None:
        """Means over the committed tokens, K; None before the first token."""
        return tuple(total / self.committed for total in self.contributions) if self.committed else None

    @property
    def kappa(self) -> tuple[float, ...] | None:
        """kappa_l, the mean excess of e^{a_l} over e^{m_l}; None outside the threshold rule."""
        if not self.chunks:
            return None
        return tuple(e / n for e, n in zip(self.excess, self.verified, strict=True))

    @property
    def clipped_share(self) -> float | None:
        return self.clipped / self.chunks if self.chunks else None

    @property
    def bias_bound(self) -> float | None:
        """Mean over rounds of sum_l l * e^{-m_l} * excess_l over all verified chunks; at most 1.

        Bounds the total variation distance of a round from the target, with several candidates and chunks
        ahead as well: the deviations of the verified chunks add up.
        """
        return min(1.0, self.bias / self.rounds) if self.rounds else None

    def as_json(self) -> dict[str, Any]:
        """The counts except INTERNAL ones, and the rates derived from them."""
        return {
            **{name: value for name, value in asdict(self).items() if name not in INTERNAL},
            "acceptance_rate": self.acceptance_rate,
            "committed_per_pass": self.committed_per_pass,
            "tokens_per_second": self.tokens_per_second,
            "kappa": self.kappa,
            "clipped_share": self.clipped_share,
            "bias_bound": self.bias_bound,
        }


_SUMMED = tuple(own.name for own in fields(Stats) if own.name != "thresholds")


@dataclass(frozen=True)
class Round:
    """One SCR round of one sequence: draft, score, verify, commit (docs/algorithm.md, "A round").

    `tokens` are the committed ones: the accepted prefix and the token after it, cut at an end token or
    at the token limit. `contributions[j][i]` is the contribution of persona i to committed token j: w_i *
    delta_i under the product, the responsibility of expert i under the mixture. `draft`, `evaluated` and
    `accepted` are those of the committed candidate. Thresholds and log-ratios are None outside the threshold
    rule.
    """

    type: ClassVar[str] = "round"
    sequence: int | str
    start: int  # position in the reply where the round begins, from 0
    draft: tuple[int, ...]
    evaluated: int  # drafted tokens up to and including the first that was rejected
    accepted: int
    tokens: tuple[int, ...]
    contributions: tuple[tuple[float, ...], ...]
    seconds: Seconds
    drafted: int = 0  # tokens of all candidates
    steps: int = 0  # forward passes of the drafter, each over all candidates
    candidate: int = 0  # the committed one
    thresholds: tuple[float, ...] | None = None  # m_1 .. m_gamma, fixed before the pass
    log_ratios: tuple[tuple[float, ...], ...] | None = None  # a_1 .. a_gamma of every verified chunk
    finish_reason: FinishReason | None = None
    stats: Stats = field(default_factory=Stats)  # of the sequence, this round included


def excess(a: float, m: float) -> float:
    """(e^a - e^m)+, whose mean over verified chunks is kappa; finite for any a (a capped at 700)."""
    return max(0.0, math.exp(min(a, 700.0)) - math.exp(min(m, 700.0)))


def _sum(a: Any, b: Any) -> Any:
    """The sum of two values of a field; of tuples elementwise, the shorter one padded with zeros."""
    if not b:  # most fields of most rounds
        return a
    return (*map(add, a, b), *a[len(b) :], *b[len(a) :]) if isinstance(a, tuple) else a + b
