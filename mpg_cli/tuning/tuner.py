"""The search: measure the parts, predict every way by the cost model, run the best few, choose.

Time per committed token = (gamma * d + v(gamma) + j(gamma)) / E[committed] (algorithm page, section 5),
with d a step of the drafter, v the score pass, j what verifying takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mpg_cli.engine.profile import Choice, Profile
from mpg_cli.engine.profile_key import profile_key, versions
from mpg_cli.engine.session import Session
from mpg_cli.sampling.drafters import expected_committed
from mpg_cli.sampling.params import MAX_CHUNK
from mpg_cli.sampling.stats import Stats
from mpg_cli.tuning.measure import Bench, Way, acceptance_by_position, effect_per_token

PROBE = 16  # chunk size at which acceptance by position is measured
CANDIDATES = (1, 4, 8)  # of the threshold rule
VERIFIED = 5  # ways that are run, beside token-by-token decoding
BASELINE = Way("none", 1, 0)

Report = Callable[[str, float], None]  # what is done now, and the share that is behind it


@dataclass(frozen=True)
class Parts:
    """What was measured for a drafter and a number of candidates; seconds."""

    rates: tuple[float, ...]
    step: float
    score: Mapping[int, float]
    verify: tuple[float, float]  # of a round with no drafted token, and of each drafted one more

    def seconds_per_token(self, gamma: int) -> float:
        """The cost model's prediction."""
        verify = self.verify[0] + self.verify[1] * gamma
        spent = gamma * self.step + interpolated(self.score, gamma) + verify
        return spent / expected_committed(gamma, self.rates)


def interpolated(times: Mapping[int, float], gamma: int) -> float:
    """A time between those of a grid, linear; beyond its end by its last slope."""
    grid = sorted(times)
    if len(grid) == 1:
        return times[grid[0]]
    above = next((place for place, size in enumerate(grid) if size >= gamma and place), len(grid) - 1)
    low, high = grid[above - 1], grid[above]
    return times[low] + (times[high] - times[low]) * (gamma - low) / (high - low)


class Tuner:
    """Finds the fastest way to sample a blend; under the threshold rule within a limit of the bias bound."""

    def __init__(
        self,
        bench: Bench,
        drafters: Sequence[str],
        max_bias: float,
        seconds: float,
        candidates: Sequence[int] = CANDIDATES,
    ) -> None:
        """`seconds` is about how long all of it may take on a machine that is fast enough; `candidates` are
        tried under the threshold rule.
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
        """Measure, predict, verify."""
        share = self._seconds * 0.5 / (len(self._pairs) + 1)
        report("token by token", 0.0)
        baseline = self._bench.probe(BASELINE, share)
        scores: dict[int, Mapping[int, float]] = {}
        parts: dict[tuple[str, int], Parts] = {}
        probes: dict[tuple[str, int], Stats] = {}
        for place, (drafter, number) in enumerate(self._pairs, 1):
            report(f"drafter {drafter}" + _of(number), 0.5 * place / (len(self._pairs) + 1))
            if number not in scores:
                scores[number] = self._bench.score_times(number)
            probes[drafter, number] = self._bench.probe(Way(drafter, number, PROBE), share)
            parts[drafter, number] = _parts(probes[drafter, number], number, baseline, scores[number])
        base = scores[1] if 1 in scores else self._bench.score_times(1)
        alone = Parts((0.0,), 0.0, base, (_verify(baseline), 0.0))
        predicted = {pair: best_gamma(own) for pair, own in parts.items()}
        ways = self._worth_running(parts, predicted)
        found = self._verify([BASELINE, *ways], report)
        choices = [self._choice(BASELINE, alone.seconds_per_token(0), found.get(BASELINE))]
        for pair, own in parts.items():
            run = [way for way in ways if (way.drafter, way.candidates) == pair]
            fastest = min(
                run,
                key=lambda way: (not self._allowed(found[way].bias_bound), _seconds(found[way])),
                default=Way(*pair, predicted[pair]),
            )
            choices.append(
                self._choice(fastest, own.seconds_per_token(fastest.chunk_size), found.get(fastest))
            )
        choices = [self._by_probe(c, probes.get((c.drafter, c.candidates))) for c in choices]
        choices.sort(key=lambda choice: choice.measured or 0.0, reverse=True)
        best = next(place for place, choice in enumerate(choices) if choice.measured and choice.allowed)
        curves = {
            drafter + _of(number): tuple(1 / own.seconds_per_token(g) for g in range(MAX_CHUNK + 1))
            for (drafter, number), own in parts.items()
        }
        request = self._bench.request
        key = profile_key(self._bench.loaded, self._bench.experts, request.scheme)
        return Profile(key, versions(), tuple(choices), best, curves)

    def _worth_running(
        self, parts: Mapping[tuple[str, int], Parts], predicted: Mapping[tuple[str, int], int]
    ) -> list[Way]:
        """The ways of least predicted time: the best of each drafter, and that one's neighbours."""
        ways: dict[Way, float] = {}
        for (drafter, number), own in parts.items():
            gamma = max(1, predicted[drafter, number])
            near = {gamma, max(1, gamma // 2), min(MAX_CHUNK, math.ceil(gamma * 1.5))}
            for size in near:
                slower = 1.0 if size == gamma else 1.03  # neighbours after the best of the other drafters
                ways[Way(drafter, number, size)] = own.seconds_per_token(size) * slower
        return sorted(ways, key=lambda way: (ways[way], way.chunk_size))[:VERIFIED]

    def _verify(self, ways: Sequence[Way], report: Report) -> dict[Way, Stats]:
        """Run the ways on the same prompts, in turn, for about half of the time."""
        found = {way: Stats() for way in ways}
        sessions: dict[Way, Session] = {}
        limit, place = self._seconds * 0.5, 0
        try:
            sessions.update((way, self._bench.session(way)) for way in ways)
            while place < 2 or sum(stats.seconds.decoding for stats in found.values()) < limit:
                # The prompt in this place; whoever runs first pays for cold caches, so that takes turns.
                turn = place % len(ways)
                for way in [*ways[turn:], *ways[:turn]]:
                    done = min(1.0, sum(stats.seconds.decoding for stats in found.values()) / limit)
                    report(f"running {_told(way)}", 0.5 + 0.5 * done)
                    *_, stats = self._bench.run(sessions[way], way, place)
                    found[way] += stats
                place += 1
                if place >= 64:
                    break
        finally:
            for session in sessions.values():
                session.close()
        return found

    def _choice(self, way: Way, predicted: float, stats: Stats | None) -> Choice:
        """A row of the result."""
        choice = Choice(way.drafter, way.candidates, way.chunk_size, None, 1 / predicted)
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
        """Ways that were not run have the acceptance and the bias bound of their probe."""
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
    base = _verify(baseline)
    more = max(0.0, _verify(probe) - base) / max(1.0, probe.drafted / max(1, probe.passes) / number)
    return Parts(acceptance_by_position(probe), step, score, (base, more))


def _verify(stats: Stats) -> float:
    return stats.seconds.verify / stats.passes


def _seconds(stats: Stats) -> float:
    speed = stats.tokens_per_second
    return 1 / speed if speed else math.inf


def _of(number: int) -> str:
    return "" if number == 1 else f" × {number}"


def _told(way: Way) -> str:
    if way.chunk_size == 0:
        return "token by token"
    return f"{way.drafter}{_of(way.candidates)}, chunks of {way.chunk_size}"
