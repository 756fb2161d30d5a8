"""What every process of the study has: the bundled model, questions, and methods at given weights.

Weights are chosen on one half of the subjects, what is reported comes from the other half. Both halves have
subjects that training never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from mpg_cli.engine.request import Request
from mpg_cli.evaluation.asking import Asked, Reply
from mpg_cli.evaluation.evaluation import Bench
from mpg_cli.evaluation.judging import MarkerJudge
from mpg_cli.evaluation.measured import Measured
from mpg_cli.evaluation.methods import blended, joined_prompt, lock_step, merged, prompted, single
from mpg_cli.evaluation.notebook import Notebook
from mpg_cli.evaluation.replies import Source
from mpg_cli.evaluation.study import held_against_lock_step
from mpg_cli.models.experts import find_experts
from mpg_cli.models.loader import LoadedModel, load_model
from mpg_cli.models.prompting import Prompting
from mpg_cli.models.shelf import Shelf
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.registry import Blend, BlendExpert, load_default
from mpg_cli.sampling.params import Sampling, Scheme
from recipes.mpg_tiny.heldout import PROMPTS

SEED = 0
A_SUBJECT = 5  # questions
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

_sampled: dict[Key, tuple[Reply, ...]] = {}  # by weights, questions and length; not of blends


@dataclass(frozen=True)
class Size:
    """How many questions weights are chosen on, how many are reported, and how long a reply may be."""

    tuning: int = 32  # one batch
    reported: int = 100
    longest: int = 128  # tokens


def questions(size: Size) -> tuple[list[str], list[str]]:
    """For choosing weights, and for the report: the subjects take turns."""
    halves: tuple[list[str], list[str]] = ([], [])
    for at in range(A_SUBJECT):  # one form of question after the other, so that a few cover all subjects
        for number in range(len(PROMPTS) // A_SUBJECT):
            halves[number % 2].append(PROMPTS[number * A_SUBJECT + at])
    return halves[0][: size.tuning], halves[1][: size.reported]


class Methods:
    """Replies of every method for one blend; `weights` are by persona.

    The drafter changes no text of the exact rule; without one a large batch on a CPU computes less.
    """

    def __init__(
        self, names: Sequence[str], asked: Sequence[str], longest: int, drafter: str = "none"
    ) -> None:
        self.names, self._asked, self._longest, self._drafter = tuple(names), tuple(asked), longest, drafter
        experts = find_experts(
            self._blend(dict.fromkeys(names, 1.0)), (), _loaded(), _quiet, _quiet, _shelf()
        )
        self._experts = {expert.name: expert for expert in experts}
        self._bench = Bench(
            _loaded(),
            tuple(Asked(str(at), text) for at, text in enumerate(asked)),
            self.names,
            MarkerJudge(),
            Notebook(None, {}),
            shelf=_shelf(),
        )

    def base(self) -> Measured:
        return self._once("base", {}, prompted(self._request({}), None))

    def single(self, name: str, weights: Weights) -> Measured:
        return self._once("single", weights, single(self._request(weights), name, weights[name]))

    def _once(self, name: str, weights: Weights, request: Request) -> Measured:
        """What does not depend on the blend is sampled once by a process."""
        key = (tuple(weights.items()), self._asked, self._longest)
        if key not in _sampled:
            _sampled[key] = self._bench.replies(name, Source(_loaded(), request))
        return self._bench.judged(name, _sampled[key])

    def prompts(self) -> Measured:
        texts = joined_prompt([(self._experts[name].persona_prompt, 1.0) for name in self.names])
        return self._bench.measure("prompts", Source(_loaded(), prompted(self._request({}), texts)))

    def merged(self, weights: Weights, name: str = "merged") -> Measured:
        experts = [self._experts[persona] for persona in weights]
        source = merged(_loaded(), experts, list(weights.values()), self._request(weights))
        return self._bench.measure(name, source)

    def mixture(self, weights: Weights) -> Measured:
        request = lock_step(self._request(weights), "mixture")
        return self._bench.measure("mixture", Source(_loaded(), request))

    def threshold(self, weights: Weights) -> Measured:
        request = blended(self._request(weights), "product", "threshold")
        return self._bench.measure("threshold", Source(_loaded(), request))

    def exact(self, weights: Weights, name: str = "exact") -> Measured:
        return self._bench.measure(name, Source(_loaded(), self._request(weights)))

    def as_lock_step(self, exact: Measured, weights: Weights) -> tuple[int, int]:
        """How many of the first replies of exact equal token-by-token decoding, and of how many."""
        return held_against_lock_step(self._bench, self._request(weights), exact)

    def _request(self, weights: Weights) -> Request:
        return request_of(self._blend(weights) if weights else None, self._drafter, self._longest)

    def _blend(self, weights: Weights) -> Blend:
        registry = load_default()
        experts = tuple(BlendExpert(registry.get(name), weight) for name, weight in weights.items())
        return Blend("+".join(weights), experts)


def request_of(blend: Blend | None, drafter: str, longest: int) -> Request:
    """Temperature 1 without truncation, for all methods alike."""
    return Request(
        ModelOptions(device="cpu", dtype="float32"),
        Prompting("?"),
        Sampling(max_tokens=longest),
        Scheme(drafter=drafter),
        blend=blend,
        seed=SEED,
    )


@lru_cache(maxsize=1)
def _loaded() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(device="cpu", dtype="float32")


@lru_cache(maxsize=1)
def _shelf() -> Shelf:
    return Shelf()


def _quiet(message: str) -> None:
    pass
