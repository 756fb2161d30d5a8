"""The bench of each process: the bundled model, the questions, and all methods at given weights.

Weights are chosen on one half of the subjects and results reported on the other. Both halves are unseen in
training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from mpg_cli.engine.request import Request
from mpg_cli.evaluation.evaluation import Bench
from mpg_cli.evaluation.judging import MarkerJudge
from mpg_cli.evaluation.log import EvaluationLog
from mpg_cli.evaluation.methods import blended, joined_prompt, merged, prompted, single, token_by_token
from mpg_cli.evaluation.metrics import Metrics
from mpg_cli.evaluation.prompts import EvalPrompt, Reply
from mpg_cli.evaluation.replies import Source
from mpg_cli.evaluation.study import compared_with_token_by_token
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.registry import Blend, BlendExpert, load_default
from mpg_cli.sampling.params import SamplingLaw, Scheme
from recipes.mpg_tiny.heldout import PROMPTS

SEED = 0
PER_SUBJECT = 5  # questions
BLENDS = (
    ("I", "pirate"),
    ("F", "zen"),
    ("P", "noir"),
    ("I", "N", "robot"),
    ("T", "J", "coach"),
    ("S", "F", "grandmother"),
    ("E", "F", "P", "bard"),
    ("N", "T", "J", "villain"),
    ("I", "S", "J", "stoic"),
    ("I", "N", "T", "J", "pirate"),
    ("E", "N", "F", "P", "child"),
    ("I", "S", "T", "J", "scientist"),
    ("E", "S", "F", "P", "diplomat"),
)
Weights = Mapping[str, float]
Key = tuple[tuple[tuple[str, float], ...], tuple[str, ...], int]

_sampled: dict[Key, tuple[Reply, ...]] = {}  # by weights, questions and length; base and singles only


@dataclass(frozen=True)
class Size:
    """The number of questions for tuning and for the report, and the maximum length of a reply."""

    tuning: int = 32  # one batch
    reported: int = 100
    longest: int = 128  # tokens


def questions(size: Size) -> tuple[list[str], list[str]]:
    """Questions for choosing weights and for the report, on alternating subjects."""
    halves: tuple[list[str], list[str]] = ([], [])
    for at in range(PER_SUBJECT):  # form by form, so that few questions cover many subjects
        for number in range(len(PROMPTS) // PER_SUBJECT):
            halves[number % 2].append(PROMPTS[number * PER_SUBJECT + at])
    return halves[0][: size.tuning], halves[1][: size.reported]


class Methods:
    """Replies of every method for one blend; `weights` are by persona.

    The drafter does not change the text of the exact rule; large batches on a CPU are cheaper without one.
    """

    def __init__(
        self, names: Sequence[str], questions: Sequence[str], longest: int, drafter: str = "none"
    ) -> None:
        self.names, self._questions, self._longest, self._drafter = (
            tuple(names),
            tuple(questions),
            longest,
            drafter,
        )
        experts = find_experts(
            self._blend(dict.fromkeys(names, 1.0)), (), _loaded(), _quiet, _quiet, _cache()
        )
        self._experts = {expert.name: expert for expert in experts}
        self._bench = Bench(
            _loaded(),
            tuple(EvalPrompt(str(at), text) for at, text in enumerate(questions)),
            self.names,
            MarkerJudge(),
            EvaluationLog(),
            cache=_cache(),
        )

    def base(self) -> Metrics:
        return self._once("base", {}, prompted(self._request({}), None))

    def single(self, name: str, weights: Weights) -> Metrics:
        return self._once("single", weights, single(self._request(weights), name, weights[name]))

    def _once(self, name: str, weights: Weights, request: Request) -> Metrics:
        """Replies that do not depend on the blend, sampled once per process."""
        key = (tuple(weights.items()), self._questions, self._longest)
        if key not in _sampled:
            _sampled[key] = self._bench.replies(name, Source(_loaded(), request))
        return self._bench.judged(name, _sampled[key])

    def prompts(self) -> Metrics:
        texts = joined_prompt([(self._experts[name].persona_prompt, 1.0) for name in self.names])
        return self._bench.measure("prompts", Source(_loaded(), prompted(self._request({}), texts)))

    def merged(self, weights: Weights, name: str = "merged") -> Metrics:
        experts = [self._experts[persona] for persona in weights]
        source = merged(_loaded(), experts, list(weights.values()), self._request(weights))
        return self._bench.measure(name, source)

    def mixture(self, weights: Weights) -> Metrics:
        request = token_by_token(self._request(weights), "mixture")
        return self._bench.measure("mixture", Source(_loaded(), request))

    def threshold(self, weights: Weights) -> Metrics:
        request = blended(self._request(weights), "product", "threshold")
        return self._bench.measure("threshold", Source(_loaded(), request))

    def exact(self, weights: Weights, name: str = "exact") -> Metrics:
        return self._bench.measure(name, Source(_loaded(), self._request(weights)))

    def as_token_by_token(self, exact: Metrics, weights: Weights) -> tuple[int, int]:
        """The number of replies of exact that equal token-by-token decoding, and the number compared."""
        return compared_with_token_by_token(self._bench, self._request(weights), exact)

    def _request(self, weights: Weights) -> Request:
        return request_of(self._blend(weights) if weights else None, self._drafter, self._longest)

    def _blend(self, weights: Weights) -> Blend:
        registry = load_default()
        experts = tuple(BlendExpert(registry.get(name), weight) for name, weight in weights.items())
        return Blend("+".join(weights), experts)


def request_of(blend: Blend | None, drafter: str, longest: int) -> Request:
    """The request of all methods: temperature 1 without truncation."""
    return Request(
        ModelOptions("mpg-tiny", device="cpu", dtype="float32"),
        Prompting("?"),
        SamplingLaw(max_tokens=longest),
        Scheme(drafter=drafter),
        blend=blend,
        seed=SEED,
    )


@lru_cache(maxsize=1)
def _loaded() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model("mpg-tiny", device="cpu", dtype="float32")


@lru_cache(maxsize=1)
def _cache() -> ExpertCache:
    return ExpertCache()


def _quiet(message: str) -> None:
    pass
