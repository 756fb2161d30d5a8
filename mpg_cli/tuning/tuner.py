"""The search: measure the cost parts, predict all variants, run the most promising, choose the fastest.

Time per committed token = (gamma * d + v(gamma) + j(gamma)) / E[committed] (docs/algorithm.md),
with d a step of the drafter, v the score pass and j the verification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.profile import Choice, Profile
from mpg_cli.engine.profile_key import profile_key, versions
from mpg_cli.sampling.chunk_size import expected_committed
from mpg_cli.sampling.params import MAX_CHUNK
from mpg_cli.sampling.stats import Stats
from mpg_cli.tuning.measure import Bench, Variant, acceptance_by_position, effect_per_token

PROBE = 16  # chunk size at which acceptance by position is measured
CANDIDATES = (1, 4, 8)  # of the threshold rule
VERIFIED = 5  # variants that are run, beside token-by-token decoding
BASELINE = Variant("none", 1, 0)

Report = Callable[[str, float], None]  # the current step, and the share of the work done so far


@dataclass(frozen=True)
class Parts:
    """The measured cost parts of a drafter with a number of candidates; times in seconds."""

    rates: tuple[float, ...]
    step: float
    score: Mapping[int, float]
    verify: tuple[float, float]  # of a round without drafted tokens, and for each drafted token

    def seconds_per_token(self, gamma: int) -> float:
        """The prediction of the cost model."""
        verify = self.verify[0] + self.verify[1] * gamma
        spent = gamma * self.step + interpolated(self.score, gamma) + verify
        return spent / expected_committed(gamma, self.rates)


def interpolated(times: Mapping[int, float], gamma: int) -> float:
    """Linear interpolation on a grid of times; beyond its end, extrapolation with the last slope."""
    grid = sorted(times)
    if len(grid) == 1:
        return times[grid[0]]
    above = next((place for place, size in enumerate(grid) if size >= gamma and place), len(grid) - 1)
    low, high = grid[above - 1], grid[above]
    return times[low] + (times[high] - times[low]) * (gamma - low) / (high - low)


class Tuner:
    """Finds the fastest variant for a blend; under the threshold rule among those within `max_bias`."""

    def __init__(
        self,
        bench: Bench,
        drafters: Sequence[str],
        max_bias: float,
        seconds: float,
        candidates: Sequence[int] = CANDIDATES,
    ) -> None:
        """`seconds` is the approximate duration of the run; slow machines exceed it. `candidates` are the
        numbers to try under the threshold rule.
        """
        self._bench, self._max_bias, self._seconds = bench, max_bias, seconds
        rule = bench.request.scheme.rule
        numbers = candidates if rule == "threshold" else (1,)
        self._pairs = [
            (drafter, number)
            for drafter in drafters
            for number in numbers
            if not (drafter == "lookup" and rule == "threshold")
        ]

    def run(self, report: Report) -> Profile:
        """Measure the parts, predict the times, run the best variants."""
        share = self._seconds * 0.5 / (len(self._pairs) + 1)
        report("token by token", 0.0)
        baseline = self._bench.probe(BASELINE, share)
        scores: dict[int, Mapping[int, float]] = {}
        parts: dict[tuple[str, int], Parts] = {}
        probes: dict[tuple[str, int], Stats] = {}
        for place, (drafter, number) in enumerate(self._pairs, 1):
            report(f"drafter {drafter}" + _times(number), 0.5 * place / (len(self._pairs) + 1))
            if number not in scores:
                scores[number] = self._bench.score_times(number)
            probes[drafter, number] = self._bench.probe(Variant(drafter, number, PROBE), share)
            parts[drafter, number] = _parts(probes[drafter, number], number, baseline, scores[number])
        base = scores[1] if 1 in scores else self._bench.score_times(1)
        alone = Parts((0.0,), 0.0, base, (_verify_seconds(baseline), 0.0))
        predicted = {pair: best_gamma(own) for pair, own in parts.items()}
        variants = self._worth_running(parts, predicted)
        found = self._run([BASELINE, *variants], report)
        choices = [self._choice(BASELINE, alone.seconds_per_token(0), found.get(BASELINE))]
        for pair, own in parts.items():
            run = [variant for variant in variants if (variant.drafter, variant.candidates) == pair]
            fastest = min(
                run,
                key=lambda variant: (not self._allowed(found[variant].bias_bound), _seconds(found[variant])),
                default=Variant(*pair, predicted[pair]),
            )
            choices.append(
                self._choice(fastest, own.seconds_per_token(fastest.chunk_size), found.get(fastest))
            )
        choices = [self._by_probe(c, probes.get((c.drafter, c.candidates))) for c in choices]
        choices.sort(key=lambda choice: choice.measured or 0.0, reverse=True)
        best = next(place for place, choice in enumerate(choices) if choice.measured and choice.allowed)
        curves = {
            drafter + _times(number): tuple(1 / own.seconds_per_token(g) for g in range(MAX_CHUNK + 1))
            for (drafter, number), own in parts.items()
        }
        request = self._bench.request
        key = profile_key(self._bench.loaded, self._bench.experts, request.scheme)
        return Profile(key, versions(), tuple(choices), best, curves)

    def _worth_running(
        self, parts: Mapping[tuple[str, int], Parts], predicted: Mapping[tuple[str, int], int]
    ) -> list[Variant]:
        """The variants of least predicted time: the best chunk size of each drafter and its neighbours."""
        variants: dict[Variant, float] = {}
        for (drafter, number), own in parts.items():
            gamma = max(1, predicted[drafter, number])
            near = {gamma, max(1, gamma // 2), min(MAX_CHUNK, math.ceil(gamma * 1.5))}
            for size in near:
                slower = 1.0 if size == gamma else 1.03  # rank neighbours below the best of other drafters
                variants[Variant(drafter, number, size)] = own.seconds_per_token(size) * slower
        return sorted(variants, key=lambda variant: (variants[variant], variant.chunk_size))[:VERIFIED]

    def _run(self, variants: Sequence[Variant], report: Report) -> dict[Variant, Stats]:
        """Run the variants in turn on the same prompts, for about half of the time."""
        found = {variant: Stats() for variant in variants}
        engines: dict[Variant, Engine] = {}
        limit, place = self._seconds * 0.5, 0
        try:
            engines.update((variant, self._bench.engine(variant)) for variant in variants)
            while place < 2 or sum(stats.seconds.decoding for stats in found.values()) < limit:
                # The first to run pays for cold caches, so the order rotates.
                turn = place % len(variants)
                for variant in [*variants[turn:], *variants[:turn]]:
                    done = min(1.0, sum(stats.seconds.decoding for stats in found.values()) / limit)
                    report(f"running {_label(variant)}", 0.5 + 0.5 * done)
                    *_, stats = self._bench.run(engines[variant], variant, place)
                    found[variant] += stats
                place += 1
                if place >= 64:
                    break
        finally:
            for engine in engines.values():
                engine.close()
        return found

    def _choice(self, variant: Variant, predicted: float, stats: Stats | None) -> Choice:
        """A row of the profile."""
        choice = Choice(variant.drafter, variant.candidates, variant.chunk_size, None, 1 / predicted)
        if stats is None:
            return choice
        kappa, bias = stats.kappa, stats.bias_bound
        return replace(
            choice,
            acceptance=stats.acceptance_rate,
            measured=stats.tokens_per_second,
            kappa=max(kappa) if kappa else None,
            bias_bound=bias,
            effect=effect_per_token(stats),
            allowed=self._allowed(bias),
        )

    def _allowed(self, bias: float | None) -> bool:
        return bias is None or bias <= self._max_bias

    def _by_probe(self, choice: Choice, probe: Stats | None) -> Choice:
        """A choice that was not run takes acceptance and bias bound from its probe."""
        if choice.measured is not None or probe is None:
            return choice
        bias = probe.bias_bound
        return replace(
            choice,
            acceptance=probe.acceptance_rate,
            bias_bound=bias,
            allowed=self._allowed(bias),
        )


def best_gamma(parts: Parts) -> int:
    """The chunk size of least predicted time, 0 (token by token) included."""
    return min(range(MAX_CHUNK + 1), key=parts.seconds_per_token)


def _parts(probe: Stats, number: int, baseline: Stats, score: Mapping[int, float]) -> Parts:
    step = probe.seconds.draft / probe.steps if probe.steps else 0.0
    base = _verify_seconds(baseline)
    more = max(0.0, _verify_seconds(probe) - base) / max(1.0, probe.drafted / max(1, probe.passes) / number)
    return Parts(acceptance_by_position(probe), step, score, (base, more))


def _verify_seconds(stats: Stats) -> float:
    return stats.seconds.verify / stats.passes


def _seconds(stats: Stats) -> float:
    speed = stats.tokens_per_second
    return 1 / speed if speed else math.inf


def _times(number: int) -> str:
    return "" if number == 1 else f" × {number}"


def _label(variant: Variant) -> str:
    if variant.chunk_size == 0:
        return "token by token"
    return f"{variant.drafter}{_times(variant.candidates)}, chunks of {variant.chunk_size}"
