"""What `mpg eval style` and `mpg eval compare` are asked to do, and both of them done.

`style` puts one blend to the test, `compare` all the ways to get its personas out of one model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import EVALUATION, ModelSpec, RunSpec, expression_of
from mpg_cli.evaluation.judging import Judge, digest
from mpg_cli.evaluation.log import open_log
from mpg_cli.evaluation.metrics import Differences, Metrics
from mpg_cli.evaluation.prompts import EvalPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpg_cli.evaluation.evaluation import Bench
    from mpg_cli.models.experts import Expert
    from mpg_cli.models.load.loader import LoadedModel

SAME_LAW = "threshold"  # the method that samples what ours samples, and is no rival in what is shown
COMPARED = 8  # replies that are compared with token-by-token decoding

Say = Callable[[str], None]
Show = Callable[[str, float], None]


def _silent(message: str) -> None:
    pass


def _unseen(what: str, share: float) -> None:
    pass


@dataclass(frozen=True)
class Study:
    """Prompts, the blend with its way of sampling (`request`), who judges, and where records go."""

    prompts: tuple[EvalPrompt, ...]
    request: Request
    personas: tuple[str, ...]
    judge: Judge | None
    output: Path | None = None
    load: Say = field(default=_silent, hash=False)  # is told what takes time before anything is measured
    notice: Say = field(default=_silent, hash=False)
    show: Show = field(default=_unseen, hash=False)

    def config(
        self, loaded: LoadedModel, experts: Sequence[Expert], smaller: LoadedModel | None
    ) -> dict[str, Any]:
        """What determines the replies and the time that they take."""
        from mpg_cli.engine.profile_key import device_name, expert_key
        from mpg_cli.models.load.loader import weights_digest

        request = self.request
        prompts_json = json.dumps(
            [
                [
                    one.id,
                    one.prompt,
                    dict(one.personas),
                    [e.weight for e in one.blend.experts] if one.blend else 0,
                ]
                for one in self.prompts
            ]
        )
        spec = RunSpec(
            model=ModelSpec.of(loaded),
            persona=expression_of(request),
            experts=tuple(expert.info for expert in experts),
            prompting=request.prompting,
            scheme=request.scheme,
            sampling=request.sampling,
            seed=_seed(request),
        )
        return {
            **{name.replace("_", " "): value for name, value in spec.part(*EVALUATION).items()},
            "device": device_name(loaded.device.value),
            "weights": weights_digest(loaded.model),
            "prompts": digest(prompts_json),
            "blend": [[e.kind, *expert_key(e), digest(e.persona_prompt or "")] for e in experts],
            "smaller model": weights_digest(smaller.model) if smaller else None,
        }


@dataclass(frozen=True)
class Findings:
    """What one blend shows."""

    model: str
    persona: str
    seed: int
    judge: Mapping[str, Any] | None
    judged_by: str
    metrics: Metrics

    def as_json(self) -> dict[str, Any]:
        own = self.metrics.as_json()
        return {
            "model": self.model,
            "persona": self.persona,
            "seed": self.seed,
            "prompts": len(self.metrics.prompts),
            "judge": self.judge,
            **{key: value for key, value in own.items() if key != "method"},
        }


@dataclass(frozen=True)
class Comparison:
    """What every method shows, ours last, and ours against the best other one."""

    model: str
    persona: str
    seed: int
    judge: Mapping[str, Any] | None
    judged_by: str
    methods: tuple[Metrics, ...]
    as_token_by_token: tuple[int, int]  # replies of ours equal to those token by token, of how many

    @property
    def ours(self) -> Metrics:
        return self.methods[-1]

    @property
    def best(self) -> Metrics:
        """The other method of the largest minimum over personas; the threshold rule is no other one."""
        return max(rivals(self.methods), key=_standing)

    @property
    def differences(self) -> Differences:
        return self.ours.against(self.best)

    def as_json(self) -> dict[str, Any]:
        equal, of = self.as_token_by_token
        return {
            "model": self.model,
            "persona": self.persona,
            "seed": self.seed,
            "prompts": len(self.ours.prompts),
            "judge": self.judge,
            "methods": [own.as_json() for own in self.methods],
            "ours": self.ours.method,
            "best_other": self.best.method,
            "difference": self.differences.as_json(),
            "equal_to_token_by_token": {"replies": equal, "of": of},
        }


def rivals(methods: Sequence[Metrics]) -> list[Metrics]:
    """The methods that do not sample the product."""
    return [own for own in methods[:-1] if own.method != SAME_LAW]


def _standing(own: Metrics) -> tuple[float, float]:
    assert own.least is not None
    assert own.mean is not None
    return own.least.value, own.mean.value


def style(study: Study) -> Findings:
    """Put one blend to the test. Raises ModelError, AdapterError, PersonaError, ContextError, MpgError."""
    from mpg_cli.evaluation.replies import Source

    with _opened(study) as (bench, _, smaller):
        metrics = bench.measure("blend", Source(bench.base, study.request, smaller))
    return Findings(bench.base.id, *_told(study), metrics)


def compare(study: Study) -> Comparison:
    """Put all methods to the test, on the same prompts and seeds. Raises as `style` does."""
    from mpg_cli.evaluation.methods import methods

    request = study.request
    with _opened(study) as (bench, experts, smaller):
        found = []
        for method in methods(bench.base, experts, request, study.notice, smaller):
            found.append(bench.measure(method.name, method.source()))
        equal = compared_with_token_by_token(bench, request, found[-1])
    if equal[0] < equal[1]:
        study.notice(
            f"{equal[1] - equal[0]} of {equal[1]} replies of ours differ from token-by-token decoding; in "
            "half precision near-ties can do that, with --dtype float32 it should not happen"
        )
    return Comparison(bench.base.id, *_told(study), tuple(found), equal)


def compared_with_token_by_token(bench: Bench, request: Request, ours: Metrics) -> tuple[int, int]:
    """How many of the first replies of ours equal those of token-by-token decoding, and of how many."""
    from mpg_cli.evaluation.methods import token_by_token
    from mpg_cli.evaluation.replies import Source, draw

    some = bench.prompts[:COMPARED]
    source = Source(bench.base, token_by_token(request))
    report = lambda share: bench.show("token by token", share)  # noqa: E731
    replies = draw(source, some, report=report, cache=bench.cache)
    equal = sum(own.token_ids == other.token_ids for own, other in zip(replies, ours.replies, strict=False))
    return equal, len(some)


def _told(study: Study) -> tuple[str, int, Mapping[str, Any] | None, str]:
    """Persona, seed and judge for the findings."""
    judge = study.judge
    persona = expression_of(study.request) or "profile + personality"
    words = "none" if judge is None else judge.words
    return persona, _seed(study.request), None if judge is None else judge.about, words


def _seed(request: Request) -> int:
    assert request.seed is not None
    return request.seed


@contextmanager
def _opened(study: Study) -> Iterator[tuple[Bench, tuple[Expert, ...], LoadedModel | None]]:
    """The model, its experts and a model that drafts loaded, and the records open."""
    from mpg_cli.engine.session import open_drafter
    from mpg_cli.evaluation.evaluation import Bench  # torch loads here
    from mpg_cli.models.experts import ExpertCache, find_experts
    from mpg_cli.models.prepare import load_prepared

    request, cache = study.request, ExpertCache()
    loaded = load_prepared(request.model, study.load)
    experts = find_experts(request.blend, request.adapters, loaded, study.load, study.notice, cache)
    smaller = open_drafter(request, loaded, study.load)
    for text in (*loaded.notices, *(smaller.notices if smaller else ())):
        study.notice(text)
    study.load("")
    with open_log(study.output, study.config(loaded, experts, smaller)) as log:
        if log.resumed:
            study.notice(f"--output has {log.resumed} of the replies already")
        bench = Bench(
            loaded, study.prompts, study.personas, study.judge, log, study.notice, study.show, cache
        )
        yield bench, experts, smaller
