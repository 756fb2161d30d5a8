"""The studies of `mpg eval style` and `mpg eval compare`.

`style` evaluates one blend, `compare` all methods that combine its personas in one model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import EVALUATION, ModelSpec, RunSpec, expression_of
from mpg_cli.evaluation.judging import Judge, digest
from mpg_cli.evaluation.log import open_log
from mpg_cli.evaluation.metrics import Differences, Metrics
from mpg_cli.evaluation.prompts import EvalPrompt
from mpg_cli.evaluation.similarity import Similarity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpg_cli.evaluation.evaluation import Bench
    from mpg_cli.models.experts import Expert
    from mpg_cli.models.load.loader import LoadedModel

SAME_TARGET = "threshold"  # the method with the target of ours, so not a baseline
COMPARED = 8  # replies compared with token-by-token decoding

Say = Callable[[str], None]
Show = Callable[[str, float], None]


def _no_message(message: str) -> None:
    pass


def _no_progress(what: str, share: float) -> None:
    pass


@dataclass(frozen=True)
class Study:
    """Prompts, the blend and its sampling (`request`), the judge or the similarity, and the output."""

    prompts: tuple[EvalPrompt, ...]
    request: Request
    personas: tuple[str, ...]
    judge: Judge | None
    output: Path | None = None
    similarity: Similarity | None = None
    load: Say = field(default=_no_message, hash=False)  # gets status texts before the evaluation
    notice: Say = field(default=_no_message, hash=False)
    show: Show = field(default=_no_progress, hash=False)

    def config(
        self, loaded: LoadedModel, experts: Sequence[Expert], smaller: LoadedModel | None
    ) -> dict[str, Any]:
        """Everything that determines the replies and their timing."""
        from mpg_cli.engine.profile_key import device_name, expert_key
        from mpg_cli.engine.sequence import law_of
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
        files: dict[str, list[str]] = {}  # two adapters may have one name
        for one in experts:
            key = expert_key(replace(one, weight=1.0))  # the weights are in the blend
            files.setdefault(one.name, []).append(digest(json.dumps([one.kind, key, one.persona_prompt])))
        spec = RunSpec(
            model=ModelSpec.of(loaded),
            persona=expression_of(request),
            experts=tuple(expert.info for expert in experts),
            prompting=request.prompting,
            scheme=request.scheme,
            sampling=law_of(loaded, request),
            seed=_seed(request),
        )
        return {
            **{name.replace("_", " "): value for name, value in spec.part(*EVALUATION).items()},
            "device": device_name(loaded.device.value),
            "weights": weights_digest(loaded.model),
            "prompts": digest(prompts_json),
            "blend": spec.persona,
            "experts": files,
            "smaller model": weights_digest(smaller.model) if smaller else None,
        }


@dataclass(frozen=True)
class Findings:
    """The result for one blend."""

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
    """The results of all methods, ours last, and the comparison of ours with the best baseline."""

    model: str
    persona: str
    seed: int
    judge: Mapping[str, Any] | None
    judged_by: str
    methods: tuple[Metrics, ...]
    as_token_by_token: tuple[int, int]  # equal replies, of how many

    @property
    def ours(self) -> Metrics:
        return self.methods[-1]

    @property
    def best(self) -> Metrics:
        """The baseline with the largest minimum presence over personas."""
        return max(baselines(self.methods), key=_rank)

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


def baselines(methods: Sequence[Metrics]) -> list[Metrics]:
    """The methods that do not sample the product; ours and the threshold rule do."""
    return [own for own in methods[:-1] if own.method != SAME_TARGET]


def _rank(own: Metrics) -> tuple[float, float]:
    assert own.least is not None
    assert own.mean is not None
    return own.least.value, own.mean.value


def style(study: Study) -> Findings:
    """Evaluate one blend. Raises ModelError, AdapterError, PersonaError, ContextError, MpgError."""
    from mpg_cli.evaluation.replies import Source

    with _open(study) as (bench, _):
        metrics = bench.measure("blend", Source(bench.base, study.request))
    return Findings(bench.base.id, *_description(study), metrics)


def compare(study: Study) -> Comparison:
    """Evaluate all methods on the same prompts and seeds. Raises as `style` does."""
    from mpg_cli.evaluation.methods import methods

    request = study.request
    with _open(study) as (bench, experts):
        found = []
        for method in methods(bench.base, experts, request, study.notice):
            found.append(bench.measure(method.name, method.source()))
        equal = compared_with_token_by_token(bench, request, found[-1])
    if equal[0] < equal[1]:
        study.notice(
            f"{equal[1] - equal[0]} of {equal[1]} replies of ours differ from token-by-token decoding: "
            "expected of near-ties in half precision, a fault with --dtype float32"
        )
    return Comparison(bench.base.id, *_description(study), tuple(found), equal)


def compared_with_token_by_token(bench: Bench, request: Request, ours: Metrics) -> tuple[int, int]:
    """The number of replies of ours that equal token-by-token decoding, and the number compared."""
    from mpg_cli.evaluation.methods import token_by_token
    from mpg_cli.evaluation.replies import Source, draw

    some = bench.prompts[:COMPARED]
    source = Source(bench.base, token_by_token(request))
    report = lambda share: bench.show("token by token", share)  # noqa: E731
    replies = draw(source, some, report=report, cache=bench.cache)
    equal = sum(own.token_ids == other.token_ids for own, other in zip(replies, ours.replies, strict=False))
    return equal, len(some)


def _description(study: Study) -> tuple[str, int, Mapping[str, Any] | None, str]:
    """Persona, seed and judge of the findings."""
    judge = study.judge or study.similarity
    persona = expression_of(study.request) or "profile + personality"
    words = "none" if judge is None else judge.words
    return persona, _seed(study.request), None if judge is None else judge.about, words


def _seed(request: Request) -> int:
    assert request.seed is not None
    return request.seed


@contextmanager
def _open(study: Study) -> Iterator[tuple[Bench, tuple[Expert, ...]]]:
    """Load the model, the experts and the drafting model, and open the log."""
    from mpg_cli.evaluation.evaluation import Bench  # torch loads here
    from mpg_cli.models.experts import ExpertCache, find_drafter, find_experts
    from mpg_cli.models.prepare import load_prepared

    request, cache = study.request, ExpertCache()
    loaded = load_prepared(request.model, study.load)
    experts = find_experts(request.blend, request.adapters, loaded, study.load, study.notice, cache)
    smaller = find_drafter(request.scheme, loaded, study.load, cache)
    for text in (*loaded.notices, *(smaller.notices if smaller else ())):
        study.notice(text)
    study.load("")
    with open_log(study.output, study.config(loaded, experts, smaller)) as log:
        if log.resumed:
            study.notice(f"resuming: {log.resumed} of the replies are in --output")
        bench = Bench(
            loaded,
            study.prompts,
            study.personas,
            study.judge,
            log,
            study.notice,
            study.show,
            cache,
            study.similarity,
        )
        yield bench, experts
