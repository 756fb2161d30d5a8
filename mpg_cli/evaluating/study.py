"""What `mpg eval style` and `mpg eval compare` are asked to do, and both of them done.

`style` puts one blend to the test, `compare` all the ways to get its personas out of one model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.evaluating.asking import Asked
from mpg_cli.evaluating.judging import Judge
from mpg_cli.evaluating.measured import Differences, Measured
from mpg_cli.evaluating.notebook import Notebook
from mpg_cli.request import GenerateRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpg_cli.evaluating.evaluation import Bench
    from mpg_cli.models.loader import LoadedModel

SAME_LAW = "threshold"  # the method that samples what ours samples, and is no rival in what is shown
LOCK_STEP = 8  # prompts whose text is held against lock-step decoding

Say = Callable[[str], None]
Show = Callable[[str, float], None]


def _silent(message: str) -> None:
    pass


def _unseen(what: str, share: float) -> None:
    pass


@dataclass(frozen=True)
class Study:
    """Prompts, the blend with its way of sampling (`request`), who judges, and where records go."""

    asked: tuple[Asked, ...]
    request: GenerateRequest
    personas: tuple[str, ...]
    judge: Judge | None
    output: Path | None = None
    load: Say = field(default=_silent, hash=False)  # is told what takes time before anything is measured
    notice: Say = field(default=_silent, hash=False)
    show: Show = field(default=_unseen, hash=False)

    def config(self, loaded: LoadedModel) -> dict[str, Any]:
        """What determines the replies."""
        request = self.request
        prompts = json.dumps(
            [
                [
                    one.id,
                    one.prompt,
                    dict(one.personas),
                    [e.weight for e in one.blend.experts] if one.blend else 0,
                ]
                for one in self.asked
            ]
        )
        blend = {e.persona.name: e.weight for e in request.blend.experts} if request.blend else {}
        scheme = request.scheme
        exact = scheme.rule == "exact"  # under it the way to sample does not change the text
        return {
            "model": loaded.id,
            "revision": loaded.revision,
            "dtype": str(loaded.dtype.value).removeprefix("torch."),
            "prompts": hashlib.blake2b(prompts.encode(), digest_size=8).hexdigest(),
            "persona": blend,
            "adapters": {str(path): weight for path, weight in request.adapters},
            "system": request.prompting.system,
            "raw": request.prompting.raw,
            "template_args": dict(request.prompting.template_args),
            "sampling": {**vars(request.sampling), "stop": list(request.sampling.stop)},
            "scheme": [scheme.target, scheme.rule] + ([] if exact else [scheme.drafter, scheme.chunk_size]),
            "threshold": None if exact else dict(vars(scheme.threshold)),
            "seed": request.seed,
        }


@dataclass(frozen=True)
class Findings:
    """What one blend shows."""

    model: str
    persona: str
    seed: int
    judge: Mapping[str, Any] | None
    judged_by: str
    measured: Measured

    def as_json(self) -> dict[str, Any]:
        own = self.measured.as_json()
        return {
            "model": self.model,
            "persona": self.persona,
            "seed": self.seed,
            "prompts": len(self.measured.asked),
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
    methods: tuple[Measured, ...]
    as_lock_step: tuple[int, int]  # replies of ours that equal those of lock-step decoding, of how many

    @property
    def ours(self) -> Measured:
        return self.methods[-1]

    @property
    def best(self) -> Measured:
        """The other method of the largest minimum over personas; the threshold rule is no other one."""
        return max(rivals(self.methods), key=_standing)

    @property
    def differences(self) -> Differences:
        return self.ours.against(self.best)

    def as_json(self) -> dict[str, Any]:
        equal, of = self.as_lock_step
        return {
            "model": self.model,
            "persona": self.persona,
            "seed": self.seed,
            "prompts": len(self.ours.asked),
            "judge": self.judge,
            "methods": [own.as_json() for own in self.methods],
            "ours": self.ours.method,
            "best_other": self.best.method,
            "difference": self.differences.as_json(),
            "equal_to_lock_step": {"replies": equal, "of": of},
        }


def rivals(methods: Sequence[Measured]) -> list[Measured]:
    """The methods that do not sample the product."""
    return [own for own in methods[:-1] if own.method != SAME_LAW]


def _standing(own: Measured) -> tuple[float, float]:
    assert own.least is not None
    assert own.mean is not None
    return own.least.value, own.mean.value


def style(study: Study) -> Findings:
    """Put one blend to the test. Raises ModelError, AdapterError, PersonaError, ContextError, MpgError."""
    from mpg_cli.evaluating.replies import Source

    with _bench(study) as (bench, loaded):
        measured = bench.measure("blend", Source(loaded, study.request))
    return Findings(loaded.id, *_told(study), measured)


def compare(study: Study) -> Comparison:
    """Put all methods to the test, on the same prompts and seeds. Raises as `style` does."""
    from mpg_cli.evaluating.methods import methods
    from mpg_cli.models.experts import find_experts

    request = study.request
    with _bench(study) as (bench, loaded):
        experts = find_experts(request.blend, request.adapters, loaded, study.load, study.notice, bench.shelf)
        found = []
        for method in methods(loaded, experts, request, study.notice):
            found.append(bench.measure(method.name, method.source()))
        equal = held_against_lock_step(bench, request, found[-1])
    if equal[0] < equal[1]:
        study.notice(
            f"{equal[1] - equal[0]} of {equal[1]} replies of ours differ from lock-step decoding; in half "
            "precision near-ties can do that, with --dtype float32 it should not happen"
        )
    return Comparison(loaded.id, *_told(study), tuple(found), equal)


def held_against_lock_step(bench: Bench, request: GenerateRequest, ours: Measured) -> tuple[int, int]:
    """How many of the first replies of ours lock-step decoding gives as well, and how many were looked at."""
    from mpg_cli.evaluating.methods import lock_step
    from mpg_cli.evaluating.replies import Source, draw

    some = bench.asked[:LOCK_STEP]
    source = Source(bench.base, lock_step(request))
    report = lambda share: bench.show("lock-step", share)  # noqa: E731
    replies = draw(source, some, report=report, shelf=bench.shelf)
    equal = sum(own.token_ids == other.token_ids for own, other in zip(replies, ours.replies, strict=False))
    return equal, len(some)


def _told(study: Study) -> tuple[str, int, Mapping[str, Any] | None, str]:
    """Persona, seed and judge for the findings."""
    from mpg_cli.job import expression_of

    judge = study.judge
    persona = expression_of(study.request) or "profile + personality"
    assert study.request.seed is not None
    words = "nobody" if judge is None else judge.words
    return persona, study.request.seed, None if judge is None else judge.about, words


@contextmanager
def _bench(study: Study) -> Iterator[tuple[Bench, LoadedModel]]:
    """The model loaded, and the records open."""
    from mpg_cli.evaluating.evaluation import Bench  # torch loads here
    from mpg_cli.models.loader import load_model
    from mpg_cli.models.selfcheck import check_rows

    choice = study.request.model
    study.load(f"loading {choice.name}")
    loaded = load_model(choice.name, choice.revision, choice.device, choice.dtype)
    for text in loaded.notices:
        study.notice(text)
    check_rows(loaded.model, loaded.id)
    study.load("")
    with Notebook(study.output, study.config(loaded)) as notebook:
        if notebook.resumed:
            study.notice(f"--output has {notebook.resumed} of the replies already")
        yield (
            Bench(loaded, study.asked, study.personas, study.judge, notebook, study.notice, study.show),
            loaded,
        )
