"""Counting (algorithm page, section 6): what was drafted, tested, kept and committed, and the time it took.

Torch-free; `Stats` is a value and grows by `plus`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mpg_cli.sampling.round import Round, Seconds
from mpg_cli.sampling.thresholds import excess


@dataclass(frozen=True)
class Stats:
    """Counts of one reply (or of several, added up).

    kept / tested is the acceptance rate; committed / passes the mean committed tokens a score pass.
    `histogram[l]` counts the rounds that kept l drafted tokens.
    For the threshold rule: `clipped` of the judged `chunks` had a log-ratio above their threshold,
    `excess[l-1]` sums (e^{a_l} - e^{m_l})+ over the `judged[l-1]` chunks that had l tokens (kappa_l is its
    mean), `thresholds` are the last ones of full length.
    """

    drafted: int = 0
    tested: int = 0
    kept: int = 0
    committed: int = 0
    passes: int = 0
    steps: int = 0  # passes of the drafter's row
    histogram: tuple[int, ...] = ()
    chunks: int = 0  # chunks judged against thresholds, of all candidates
    rounds: int = 0  # rounds that judged them
    clipped: int = 0
    judged: tuple[int, ...] = ()
    excess: tuple[float, ...] = ()
    bias: float = 0.0  # sum over rounds of sum_l l * e^{-m_l} * (e^{a_l} - e^{m_l})+
    thresholds: tuple[float, ...] | None = None
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def acceptance_rate(self) -> float | None:
        """Kept / tested tokens; None when nothing was tested (lock-step)."""
        return self.kept / self.tested if self.tested else None

    @property
    def committed_per_pass(self) -> float | None:
        return self.committed / self.passes if self.passes else None

    @property
    def tokens_per_second(self) -> float | None:
        """Committed tokens over decoding time, prefill excluded."""
        spent = self.seconds.draft + self.seconds.score + self.seconds.judge
        return self.committed / spent if spent > 0 else None

    @property
    def kappa(self) -> tuple[float, ...] | None:
        """kappa_l, the mean excess of e^{a_l} over e^{m_l}; None outside the threshold rule."""
        if not self.chunks:
            return None
        return tuple(e / n for e, n in zip(self.excess, self.judged, strict=True))

    @property
    def clipped_share(self) -> float | None:
        return self.clipped / self.chunks if self.chunks else None

    @property
    def bias_bound(self) -> float | None:
        """Mean over rounds of sum_l l * e^{-m_l} * excess_l over all judged chunks; at most 1.

        It bounds the total variation of a round, for several candidates and chunks ahead as well: what a
        chunk's kept prefix and its length miss of their law adds up over the chunks that decide together.
        """
        return min(1.0, self.bias / self.rounds) if self.rounds else None

    def plus(self, r: Round) -> Stats:
        """These counts with one more round."""
        histogram = _padded(self.histogram, r.kept + 1)
        grown = replace(
            self,
            drafted=self.drafted + r.drafted,
            tested=self.tested + r.tested,
            kept=self.kept + r.kept,
            committed=self.committed + len(r.tokens),
            passes=self.passes + 1,
            steps=self.steps + r.steps,
            histogram=tuple(n + (i == r.kept) for i, n in enumerate(histogram)),
            seconds=self.seconds + r.seconds,
        )
        return grown._judged(r.log_ratios, r.thresholds) if r.log_ratios and r.thresholds else grown

    def _judged(self, chunks: Sequence[Sequence[float]], m: tuple[float, ...]) -> Stats:
        """These counts with the chunks that one round of the threshold rule judged."""
        totals, judged = list(_padded(self.excess, len(m))), list(_padded(self.judged, len(m)))
        clipped, bias = self.clipped, self.bias
        for a in chunks:
            over = [excess(a_l, m_l) for a_l, m_l in zip(a, m, strict=False)]  # the last chunk may be short
            clipped += any(a_l > m_l for a_l, m_l in zip(a, m, strict=False))
            for place, amount in enumerate(over):
                judged[place] += 1
                totals[place] += amount
                bias += (place + 1) * math.exp(-m[place]) * amount
        return replace(
            self,
            chunks=self.chunks + len(chunks),
            rounds=self.rounds + 1,
            clipped=clipped,
            judged=tuple(judged),
            excess=tuple(totals),
            bias=bias,
            thresholds=m if len(m) >= len(self.thresholds or ()) else self.thresholds,
        )

    def as_json(self) -> dict[str, Any]:
        """All counts and the rates derived from them."""
        counts = {k: v for k, v in asdict(self).items() if k not in {"judged", "excess", "bias", "rounds"}}
        return {
            **counts,
            "acceptance_rate": self.acceptance_rate,
            "committed_per_pass": self.committed_per_pass,
            "tokens_per_second": self.tokens_per_second,
            "kappa": self.kappa,
            "clipped_share": self.clipped_share,
            "bias_bound": self.bias_bound,
        }


def _padded(values: Sequence[Any], length: int) -> tuple[Any, ...]:
    return (*values, *([0] * (length - len(values))))
