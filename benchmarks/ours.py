"""mpg as a contender: sessions with given schemes, and tuned settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.models import Subject
from mpg_cli.engine.events import Finished, Round
from mpg_cli.engine.profile import Profile
from mpg_cli.engine.request import Request
from mpg_cli.engine.session import Session
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import RuleName, SamplingLaw, Scheme
from mpg_cli.sampling.stats import Stats
from mpg_cli.tuning.measure import Bench, Variant
from mpg_cli.tuning.tuner import Tuner

DRAFTERS = ("reference", "merged", "folded")


@dataclass
class Ours:
    """A session that replies to the prompts of a subject; `stats` are those of its last run."""

    subject: Subject
    scheme: Scheme
    stats: Stats | None = None

    def __post_init__(self) -> None:
        first = request(self.subject, self.scheme)
        self._session = Session(first, self.subject.prepared, self.subject.experts)

    def __call__(self, limit: int) -> list[list[int]]:
        """Token ids of one reply to each prompt, of at most `limit` tokens each."""
        stats, replies = Stats(), list[list[int]]()
        for place, prompting in enumerate(self.subject.prompts):
            current = request(self.subject, self.scheme, limit)
            current = replace(current, prompting=prompting, sequence_id=place)
            replies.append([])
            for event in self._session.replies(current):
                if isinstance(event, Round):
                    replies[-1] += event.tokens
                if isinstance(event, Finished):
                    stats += event.stats
        self.stats = stats
        return replies

    def close(self) -> None:
        """Free the memory of the session."""
        self._session.close()


def request(subject: Subject, scheme: Scheme, limit: int | None = None) -> Request:
    """The request for the first prompt; adapters and, without a limit, the length come from the subject."""
    return Request(
        ModelOptions(),
        subject.prompts[0],
        SamplingLaw(max_tokens=subject.max_tokens if limit is None else limit),
        scheme,
        adapters=tuple((AdapterPlace(folder), subject.scale) for folder in subject.folders),
        seed=1,
    )


def acceptance(subject: Subject, seconds: float = 8.0, chunk_size: int = 4) -> float:
    """The acceptance rate of merged drafts under the exact rule, measured for some seconds."""
    bench = Bench(request(subject, Scheme()), subject.prepared, subject.experts, subject.prompts)
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
    bench = Bench(first, subject.prepared, subject.experts, subject.prompts)
    profile: Profile = Tuner(bench, DRAFTERS, 1.0, seconds, candidates=(1,)).run(lambda what, share: None)
    return {
        drafter: max(1, next(c.chunk_size for c in profile.choices if c.drafter == drafter))
        for drafter in DRAFTERS
    }
