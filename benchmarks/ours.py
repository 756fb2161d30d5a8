"""mpg as a contender: engines with given schemes, and tuned settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.models import Subject
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished, Round
from mpg_cli.engine.profile import Profile
from mpg_cli.engine.request import Request
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import RuleName, SamplingLaw, Scheme
from mpg_cli.sampling.stats import Stats
from mpg_cli.tuning.measure import Bench, Variant
from mpg_cli.tuning.tuner import Tuner

DRAFTERS = ("reference", "merged", "folded")


@dataclass
class Ours:
    """An engine that replies to the prompts of a subject; `stats` are those of its last run."""

    subject: Subject
    scheme: Scheme
    stats: Stats | None = None

    def __post_init__(self) -> None:
        self._engine = Engine(self.subject.prepared, batch_size=1, cache=self.subject.cache)
        self._engine.prepare(request(self.subject, self.scheme))

    def __call__(self, limit: int) -> list[list[int]]:
        """Token ids of one reply to each prompt, of at most `limit` tokens each."""
        stats, replies = Stats(), list[list[int]]()
        for place, prompting in enumerate(self.subject.prompts):
            current = request(self.subject, self.scheme, limit)
            current = replace(current, prompting=prompting, sequence_id=place)
            replies.append([])
            for event in self._engine.replies(current):
                if isinstance(event, Round):
                    replies[-1] += event.tokens
                if isinstance(event, Finished):
                    stats += event.stats
        self.stats = stats
        return replies

    def close(self) -> None:
        """Free the memory of the engine."""
        self._engine.close()


def request(subject: Subject, scheme: Scheme, limit: int | None = None) -> Request:
    """The request for the first prompt; adapters and, without a limit, the length come from the subject."""
    return Request(
        ModelOptions(),
        subject.prompts[0],
        SamplingLaw(max_tokens=subject.max_tokens if limit is None else limit),
        scheme,
        adapters=subject.adapters,
        seed=1,
    )


def acceptance(subject: Subject, seconds: float = 8.0, chunk_size: int = 4) -> float:
    """The acceptance rate of merged drafts under the exact rule, measured for some seconds."""
    bench = Bench(request(subject, Scheme()), subject.prepared, subject.prompts, cache=subject.cache)
    rate = bench.probe(Variant("merged", 1, chunk_size), seconds).acceptance_rate
    assert rate is not None
    return rate


def scaled_to(
    subject: Subject,
    wanted: float,
    steps: int = 8,
    seconds: float = 8.0,
    measured: Callable[[Subject, float], float] = acceptance,
) -> tuple[Subject, float]:
    """The subject with the experts' weight at which merged drafts reach a wanted acceptance rate.

    Larger weights lower the acceptance: the merged row differs from the product by terms of second order. The
    deeper the model, the smaller the weight, so the search is geometric: steps of a factor of four, then
    bisection. Also returns the acceptance rate that was reached.
    """
    low, high = 0.0, math.inf
    scale, best, reached = 1.0, subject, math.inf
    for _ in range(steps):
        found = replace(subject, scale=scale)
        rate = measured(found, seconds)
        if abs(rate - wanted) < abs(reached - wanted):
            best, reached = found, rate
        if abs(rate - wanted) < 0.01:
            break
        low, high = (scale, high) if rate > wanted else (low, scale)
        scale = math.sqrt(low * high) if low and high < math.inf else scale * (4 if rate > wanted else 1 / 4)
    return best, reached


def tuned(subject: Subject, rule: RuleName, seconds: float) -> Mapping[str, int]:
    """The best gamma > 0 of each drafter by tuning, without a limit on the bias bound."""
    first = request(subject, Scheme(rule=rule))
    bench = Bench(first, subject.prepared, subject.prompts, cache=subject.cache)
    profile: Profile = Tuner(bench, DRAFTERS, 1.0, seconds, candidates=(1,)).run(lambda what, share: None)
    return {
        drafter: max(1, next(c.chunk_size for c in profile.choices if c.drafter == drafter))
        for drafter in DRAFTERS
    }
