"""Build a study or a questionnaire run from the options of `mpg eval`. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpg_cli.config.named_models import BUNDLED, is_bundled
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError, caused_by
from mpg_cli.evaluation import roleplay
from mpg_cli.evaluation.data_lines import DataLines
from mpg_cli.evaluation.item_files import BUILT_IN, read_items
from mpg_cli.evaluation.judging import OWN_JUDGE_HINT, Judge, MarkerJudge
from mpg_cli.evaluation.mbti import Quiz, types
from mpg_cli.evaluation.prompts import EvalPrompt, open_prompts, read_prompts
from mpg_cli.evaluation.questionnaire import DIMENSIONS, counts
from mpg_cli.evaluation.similarity import Similarity
from mpg_cli.evaluation.study import Study
from mpg_cli.io.text import visible
from mpg_cli.models.load.sources import find_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.evaluation import (
    TRAINED,
    JudgeName,
    JudgeOptions,
    QuizOptions,
    RoleplayOptions,
    StudyOptions,
)
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import blending
from mpg_cli.personas.blending import Experts
from mpg_cli.sampling.params import TargetName

if TYPE_CHECKING:
    from mpg_cli.evaluation.classifier import Features


def study_of_blend(
    request: Request,
    options: StudyOptions,
    judges: JudgeOptions,
    questions: DataLines | None = None,
    *,
    apart: bool = False,
) -> Study:
    """A study of the blend of the request, on `questions` or on the prompts of the options.

    `apart` requires distinct names of the experts. Raises UsageError.
    """
    experts = Experts(request.blend, request.adapters)
    if apart:
        _check_names(experts)
    personas = _personas_of(experts)
    if not personas:
        raise UsageError("no persona of the blend has a positive weight, so there is none to evaluate")
    if questions is None:
        prompts = read_prompts(options.prompts, options.count)
        eval_prompts = tuple(EvalPrompt(str(at), text, personas) for at, text in enumerate(prompts))
    else:
        eval_prompts = open_prompts(questions.lines, personas)
    judge = choose_judge(judges, tuple(personas), request.model)
    return Study(eval_prompts, request, tuple(personas), judge, options.output)


def study_of_data(
    request: Request,
    data: DataLines,
    roles: RoleplayOptions,
    options: StudyOptions,
    judges: JudgeOptions,
    scale: float,
) -> Study:
    """A study of the lines of --data: role-playing lines have their own blends. Raises UsageError."""
    if data.kind == "questions":
        return study_of_blend(request, options, judges, data)
    both = blending.two_weights("--data-weights", roles.data_weights, scale)
    if request.scheme.target == "mixture" and min(both) < 0:
        raise UsageError("--target mixture does not allow negative weights", hint="use --target product")
    if max(both) <= 0:
        names = ", ".join(roleplay.PERSONAS)
        raise UsageError(f"--data-weights {roles.data_weights}: one of {names} must be above 0")
    ask = roleplay.ASK if roles.ask is None else roles.ask
    if not ask.strip():
        raise UsageError("--ask is empty", hint="give the question that lines without one are asked")
    eval_prompts = roleplay.roleplay_prompts(data.lines, both, ask)
    personas = tuple(eval_prompts[0].personas)
    request = replace(request, scheme=request.scheme.on(personas))
    kind = judges.kind("none")
    if kind == "encoder" and judges.train_texts is None:
        return Study(eval_prompts, request, personas, None, options.output, Similarity())
    if kind in ("markers", *TRAINED):
        encoder = "--judge encoder without --train-texts for the similarity to their texts"
        raise UsageError(
            f"--judge {kind} does not know the personas of --data", hint=f"use --judge-url, or {encoder}"
        )
    judge = choose_judge(judges, personas, request.model, kind)
    return Study(eval_prompts, request, personas, judge, options.output)


def choose_judge(
    options: JudgeOptions, personas: tuple[str, ...], model: ModelOptions, default: JudgeName | None = None
) -> Judge | None:
    """The judge of replies of this model, or None.

    Raises UsageError if it cannot judge a persona, and ModelError, before it trains one, for a model that
    is not there.
    """
    bundled = is_bundled(model.name)
    kind = options.kind(default or ("markers" if bundled else "classifier"))
    if kind == "none":
        return None
    judge: Judge
    if kind in TRAINED:
        judge = _trained_judge(kind, personas, options.train_texts, model)
    elif kind == "external":
        from mpg_cli.evaluation.external import ExternalJudge

        url, name = options.judge_url, (options.judge_model or "").strip()
        if url is None or not name:
            flag = "--judge-url" if url is None else "--judge-model"
            hint = "as in --judge-url http://localhost:8000/v1 --judge-model NAME"
            raise UsageError(f"an external judge needs {flag}", hint=hint)
        judge = ExternalJudge(url, name)
    else:
        if options.markers is None and not bundled:
            raise UsageError(
                f"the markers of the package are words that {BUNDLED} uses, and find little in replies of "
                f"{visible(model.name, 80)}",
                hint="use --judge classifier, or give markers of your own with --markers FILE",
            )
        judge = MarkerJudge(options.markers)
    judge.check(personas)
    return judge


def _trained_judge(
    kind: JudgeName, personas: tuple[str, ...], file: Path | None, model: ModelOptions
) -> Judge:
    """A judge trained on the texts of a file, without one on those of the package for this model."""
    from mpg_cli.evaluation.classifier import TrainedJudge, WordFeatures
    from mpg_cli.evaluation.judge_texts import library_knows, library_texts, texts_of_file

    written = file is None and not is_bundled(model.name)
    if written and (unknown := [name for name in personas if not library_knows(name)]):
        names = ", ".join(visible(name, 60) for name in unknown)
        raise UsageError(
            f"no judge of the package knows {names} in replies of {visible(model.name, 80)}",
            hint=OWN_JUDGE_HINT,
        )
    features: Features
    if kind == "encoder":
        from mpg_cli.evaluation.encoder import SentenceFeatures

        features = SentenceFeatures()
    else:
        features = WordFeatures()
    with caused_by("--model"):  # now, as training takes a while
        find_model(model.name, model.revision, config_only=True)
    return TrainedJudge(features, library_texts(personas) if written else texts_of_file(personas, file))


def quiz_of(
    options: QuizOptions,
    blend: BlendOptions,
    model: ModelOptions,
    target: TargetName,
    how: Prompting,
    notice: Callable[[str], None] = lambda message: None,
) -> Quiz:
    """The questionnaire for the blend, or with --all for each of the sixteen types.

    `notice` gets a message on items that are left out. Raises UsageError.
    """
    if options.all_types and blend.adapters:
        raise UsageError("--adapter cannot be combined with --all", hint="give its persona with --persona")
    items = read_items(options.items or BUILT_IN, notice)
    if options.all_types and len(counts(items)) < len(DIMENSIONS):
        has = ", ".join(counts(items))
        raise UsageError(f"--all needs items of all dimensions, {options.items} has only {has}")
    texts = [(name, *blend.personas) for name in types()] if options.all_types else [blend.personas]
    found = [blending.resolve(replace(blend, personas=own), target) for own in texts]
    names = ["+".join(own) for own in texts] if options.all_types else [found[0].expression]
    return Quiz(
        blends=tuple(experts.blend for experts in found),
        names=tuple(names),
        items=items,
        model=model,
        adapters=found[0].adapters,
        target=target,
        readout=options.readout,
        how=how,
    )


def _personas_of(experts: Experts) -> dict[str, str]:
    """The personas of positive weight with their descriptions for the judge."""
    found = {}
    for expert in experts.blend.experts if experts.blend else ():
        own = expert.persona
        if expert.weight > 0:
            found[own.name] = " ".join(filter(None, [own.description, own.prompt]))
    return found | {place.name: "" for place, weight in experts.adapters if weight > 0}


def _check_names(experts: Experts) -> None:
    """Raise UsageError if two experts share a name: methods and records are identified by it."""
    blended = experts.blend.experts if experts.blend else ()
    named = [(e.persona.name, f"the persona at {e.persona.where}") for e in blended]
    named += [(place.name, f"--adapter {place}") for place, _ in experts.adapters]
    seen: dict[str, str] = {}
    for name, source in named:
        if name in seen:
            raise UsageError(
                f"{visible(seen[name])} and {visible(source)} are both called {visible(name)}",
                hint="rename one, or leave one out",
            )
        seen[name] = source
