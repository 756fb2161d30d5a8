"""One blend of the study: choose weights for every method, then run all methods on the report questions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mpg_cli.evaluation.metrics import Metrics
from studies.blends.bench import Methods, Size, Weights, questions
from studies.blends.search import Tried, search, tried

SINGLE_WEIGHTS = (1.0, 1.5)  # tried for a single persona
BASELINES = ("base", "single", "prompts", "merged", "merged 1", "merged 1/K")
OURS = "exact"
FLUENT = "exact, fluent"


@dataclass(frozen=True)
class Outcome:
    """A blend's methods on the reported questions, by name, and their weights.

    `exact, fluent` is exact at weights whose fluency was no worse than that of the best other method on the
    tuning questions; it is `exact` itself where that already held, and None where no weights did.
    """

    names: tuple[str, ...]
    methods: dict[str, Metrics]
    weights: dict[str, Weights]
    fluent: str | None
    as_token_by_token: tuple[int, int]
    seconds: float

    @property
    def expression(self) -> str:
        return "+".join(self.names)

    @property
    def best(self) -> str:
        """The baseline with the largest minimum presence on the reported questions."""
        return max((name for name in BASELINES), key=lambda name: rank(self.methods[name]))


def rank(own: Metrics) -> tuple[float, float]:
    assert own.least is not None
    assert own.mean is not None
    return own.least.value, own.mean.value


def study(names: Sequence[str], size: Size) -> Outcome:
    """Choose the weights, then evaluate all methods."""
    began = time.perf_counter()
    tuning, reported = questions(size)
    bench = Methods(names, tuning, size.longest)
    uniform = dict.fromkeys(names, 1.0)
    alone = [
        tried({name: weight}, bench.single(name, {name: weight}))
        for name in names
        for weight in SINGLE_WEIGHTS
    ]
    single = max(alone, key=lambda own: own.rank)
    merged = search(names, bench.merged)
    exact = search(names, bench.exact)
    mixture = search(names, bench.mixture, (1.0,))[0]
    share = {name: 1 / len(names) for name in names}
    others = [
        single,
        merged[0],
        tried({}, bench.base()),
        tried({}, bench.prompts()),
        next(own for own in merged if own.weights == uniform),
        tried(share, bench.merged(share)),
    ]
    fluent = _fluent(exact, max(others, key=lambda own: own.rank).fluency)

    bench = Methods(names, reported, size.longest, drafter="merged")
    (persona,) = single.weights
    weights: dict[str, Weights] = {
        "single": single.weights,
        "merged": merged[0].weights,
        "merged 1": uniform,
        "merged 1/K": share,
        "mixture": mixture.weights,
        "threshold": exact[0].weights,
        OURS: exact[0].weights,
    }
    methods = {
        "base": bench.base(),
        "single": bench.single(persona, single.weights),
        "prompts": bench.prompts(),
        "merged": bench.merged(merged[0].weights),
        "merged 1": bench.merged(uniform, "merged 1"),
        "merged 1/K": bench.merged(share, "merged 1/K"),
        "mixture": bench.mixture(mixture.weights),
        "threshold": bench.threshold(exact[0].weights),
        OURS: bench.exact(exact[0].weights),
    }
    which = None
    if fluent is not None:
        which = OURS if fluent.weights == exact[0].weights else FLUENT
        if which == FLUENT:
            weights[FLUENT], methods[FLUENT] = fluent.weights, bench.exact(fluent.weights, FLUENT)
    equal = bench.as_token_by_token(methods[OURS], exact[0].weights)
    return Outcome(tuple(names), methods, weights, which, equal, time.perf_counter() - began)


def _fluent(found: Sequence[Tried], least: float) -> Tried | None:
    """The best weights whose fluency is at least `least`."""
    return next((own for own in found if own.fluency >= least), None)
