"""What `mpg eval style` and `mpg eval compare` have in common: their options, who judges, how it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli.engine.messages import check_text
from mpg_cli.errors import UsageError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.render.bar import Bar

if TYPE_CHECKING:
    from mpg_cli.evaluation.judging import Judge
    from mpg_cli.evaluation.prompts import EvalPrompt
    from mpg_cli.evaluation.study import Study
    from mpg_cli.personas.registry import Blend

JudgeName = Literal["auto", "markers", "classifier", "external", "none"]

Prompts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Prompts, one a line.", show_default="60 everyday ones"),
]
Count = Annotated[int | None, typer.Option(metavar="N", help="The first N prompts only.", show_default="all")]
WhoJudges = Annotated[
    JudgeName,
    typer.Option(
        "--judge",
        metavar="auto|markers|classifier|external|none",
        help="Who says which personas a reply shows; auto goes by the flags below, and takes markers.",
    ),
]
MarkersFile = Annotated[
    Path | None,
    typer.Option(
        "--markers",
        metavar="FILE.yaml",
        help="Words of each persona: {persona: [regular expression, …]}.",
        show_default="those of the bundled personas",
    ),
]
TrainTexts = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.jsonl",
        help="Texts to train the classifier on, lines {persona, text}.",
        show_default="texts of the bundled personas",
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="An OpenAI-compatible server to ask, as http://localhost:8000/v1."),
]
JudgeModel = Annotated[str | None, typer.Option(metavar="NAME", help="The model of that server.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.jsonl",
        help="Keep replies and judgements as they come; the same command goes on where it stopped.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="The same seed gives the same replies.")]
MaxTokens = Annotated[int, typer.Option(metavar="N", help="Longest reply.")]

LONGEST = 256  # tokens of a reply
JUDGES = """\
The judge is one of three. markers: a persona shows where its words stand in enough sentences; the package has
words for its own personas. classifier: TF-IDF and a logistic regression, trained on texts of the personas, of
which a quarter is held out to say how often it is right (needs pip install 'mpg-cli[eval]'). --judge-url: a
model is asked for a number from 0 to 10 about every reply and persona; the key is read from MPG_JUDGE_KEY."""


def read_judge(
    name: JudgeName,
    personas: Sequence[str],
    *,
    markers: Path | None,
    train_texts: Path | None,
    url: str | None,
    model: str | None,
    default: JudgeName = "markers",
) -> Judge | None:
    """Who judges these personas. Raises UsageError for flags that do not go together."""
    given: dict[JudgeName, str] = {}
    if markers is not None:
        given["markers"] = "--markers"
    if train_texts is not None:
        given["classifier"] = "--train-texts"
    if url is not None or model is not None:
        given["external"] = "--judge-url" if url is not None else "--judge-model"
    if name == "auto":
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given.values())} name two judges", hint="leave one out")
        name = next(iter(given), default)
    for kind, flag in given.items():
        if kind != name:
            raise UsageError(f"{flag} does not go with --judge {name}", hint="leave one out")
    judge = _judge(name, personas, markers, train_texts, url, model)
    if judge is not None:
        judge.check(personas)
    return judge


def _judge(
    name: JudgeName,
    personas: Sequence[str],
    markers: Path | None,
    train_texts: Path | None,
    url: str | None,
    model: str | None,
) -> Judge | None:
    if name == "none":
        return None
    if name == "classifier":
        from mpg_cli.evaluation.classifier import ClassifierJudge

        return ClassifierJudge(personas, train_texts)
    if name == "external":
        from mpg_cli.evaluation.external import ExternalJudge

        if url is None or not (model or "").strip():
            flag = "--judge-url" if url is None else "--judge-model"
            hint = "as in --judge-url http://localhost:8000/v1 --judge-model NAME"
            raise UsageError(f"an external judge needs {flag}", hint=hint)
        assert model is not None
        return ExternalJudge(url, check_text("--judge-model", model.strip()))
    from mpg_cli.evaluation.judging import MarkerJudge

    return MarkerJudge(markers)


def personas_of(blend: Blend | None, adapters: tuple[tuple[AdapterPlace, float], ...]) -> dict[str, str]:
    """The personas to look for, and what a judge is told of each; those of negative weight are left out."""
    found = {}
    for expert in blend.experts if blend else ():
        own = expert.persona
        if expert.weight > 0:
            found[own.name] = " ".join(filter(None, [own.description, own.prompt]))
    return found | {place.name: "" for place, weight in adapters if weight > 0}


def check_names(blend: Blend | None, adapters: tuple[tuple[AdapterPlace, float], ...]) -> None:
    """Raise UsageError where two experts have one name: methods and records go by it."""
    named = [(e.persona.name, f"the persona at {e.persona.where}") for e in (blend.experts if blend else ())]
    named += [(place.name, f"--adapter {place}") for place, _ in adapters]
    seen: dict[str, str] = {}
    for name, whose in named:
        if name in seen:
            raise UsageError(
                f"{visible(seen[name])} and {visible(whose)} are both called {visible(name)}",
                hint="a comparison goes by their names: rename one, or leave one out",
            )
        seen[name] = whose


def read_asked(file: Path | None, most: int | None, personas: dict[str, str]) -> tuple[EvalPrompt, ...]:
    """The prompts, numbered from 0."""
    from mpg_cli.evaluation.prompts import EvalPrompt, read_prompts

    return tuple(EvalPrompt(str(at), text, personas) for at, text in enumerate(read_prompts(file, most)))


@contextmanager
def running(study: Study, streams: Streams, *, quiet: bool) -> Iterator[Study]:
    """The study with its progress on stderr; notices come when it is over."""
    from mpg_cli.evaluation.log import check_output

    if study.output is not None:
        check_output(study.output)
    notices: list[str] = []
    with streams.status(f"loading {study.request.model.name}", shown=not quiet) as status:
        bar = Bar(streams, shown=not quiet)
        started: list[Callable[..., None]] = []

        def show(what: str, share: float) -> None:
            if not started:
                status.update("")
                bar.__enter__()
                started.append(bar.__exit__)
            signals.check()
            bar.show(what, share)

        try:
            yield replace(study, load=status.update, notice=notices.append, show=show)
        except BaseException:
            for stop in started:
                stop()
            if study.output is not None and signals.received() is not None and not quiet:
                streams.say("mpg: interrupted; the same command goes on where it stopped")
            raise
        for stop in started:
            stop()
    if not quiet:
        for notice in dict.fromkeys(notices):
            streams.say(f"mpg: {notice}")
