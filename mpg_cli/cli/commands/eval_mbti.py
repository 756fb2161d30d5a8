"""`mpg eval mbti`: a questionnaire put to a blend, read from log-probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli.cli import options
from mpg_cli.engine.messages import check_text
from mpg_cli.errors import UsageError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace

if TYPE_CHECKING:
    from mpg_cli.evaluation.mbti import Findings, Quiz
    from mpg_cli.personas.registry import Blend

EPILOG = """\b
Examples:
  mpg eval mbti -p INTJ+pirate
  mpg eval mbti --all
  mpg eval mbti --all -p pirate --plot types.svg
  mpg eval mbti -p INTJ --model Qwen/Qwen3-8B --readout letter --template-arg enable_thinking=false
  mpg eval mbti -p INTJ --items mine.json --format json
\b
Nothing is sampled: each item is asked twice, its options named in either order, and the answer is how likely
the blend makes the texts of the options (mean log-probability a token, both orders averaged). An item scores
between 1 (first pole) and -1 (second pole), a dimension the mean of its items with a 95 % t-interval over
them, a type the signs. The base is asked as well and shown beside the blend; nothing is corrected by it.
\b
FILE.json is a list of items {"question": "…", "A": {"text": "…", "pole": "E"}, "B": {"text": "…", "pole":
"I"}}, or {"statement": "…", "dimension": "EI", "pole": "E"}, where agreement counts for the pole. The options
complete a question that ends in “…”. docs/eval-mbti.md shows what the bundled model answers.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


def mbti(
    ctx: typer.Context,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    all_: Annotated[
        bool,
        typer.Option("--all", help="The sixteen types, each with the --persona given; one table for all."),
    ] = False,
    items: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Another questionnaire.", show_default="one of 96 items"),
    ] = None,
    readout: Annotated[
        Literal["text", "letter"],
        typer.Option(
            metavar="text|letter",
            help="Score the texts of the options, or letters that name them; letters are for large models.",
        ),
    ] = "text",
    system: options.System = None,
    raw: options.Raw = False,
    template_arg: options.TemplateArg = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    persona_dir: options.PersonaDir = None,
    target: options.Target = "product",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg|png", help="Draw the scores with their intervals.")
    ] = None,
    format_: Annotated[
        Literal["text", "json"],
        typer.Option("--format", metavar="text|json", help="Bars or a table, or one JSON object."),
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")] = False,
) -> None:
    """Put an MBTI questionnaire to a blend.

    The result is a type, and a score with a confidence interval for each dimension. It says how the blend
    answers these questions, and not that a model has a personality.
    """
    from mpg_cli.cli.commands import blending, values
    from mpg_cli.evaluation.mbti import Quiz, types
    from mpg_cli.evaluation.questionnaire import BUILT_IN, DIMENSIONS, counts, read_items
    from mpg_cli.render import mbti as report
    from mpg_cli.render.tuning import check_plot

    streams = Streams.current()
    if plot is not None:
        check_plot(plot)
    if all_ and adapter:
        raise UsageError("--adapter does not go with --all", hint="give its persona with --persona")
    asked = read_items(items or BUILT_IN)
    if all_ and len(counts(asked)) < len(DIMENSIONS):
        raise UsageError(f"--all needs items of all dimensions, {items} has {', '.join(counts(asked))}")
    adapters = values.adapters(adapter or [], strength)
    texts = [[name, *(persona or [])] for name in types()] if all_ else [persona or []]
    blends = [
        blending.read_blend(own, persona_dir or [], strength, adapters_given=bool(adapter)) for own in texts
    ]
    for blend in blends:
        blending.check_weights(target, blend, adapters)
    names = [
        "+".join(own) if all_ else _named(blend, adapters) for own, blend in zip(texts, blends, strict=True)
    ]
    quiz = Quiz(
        blends=tuple(blends),
        names=tuple(names),
        items=asked,
        model=ModelOptions(model, revision, device, dtype),
        adapters=adapters,
        target=target,
        readout=readout,
        how=Prompting(
            "?",
            system=None if system is None else check_text("--system", system),
            raw=raw,
            template_args=values.template_args(template_arg or []),
        ),
    )
    if not quiet and (notice := blending.default_model_notice(ctx, model)):
        streams.say(f"mpg: {notice}")
    found = _perform(quiz, streams, quiet)
    if plot is not None:
        report.write_plot(plot, found)
    if format_ == "json":
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    elif all_:
        report.write_table(streams.stdout, found)
    else:
        report.write_report(streams.stdout, found, color=streams.color and streams.stdout_tty)


def _perform(quiz: Quiz, streams: Streams, quiet: bool) -> Findings:
    """Load and ask, with a line of progress."""
    from mpg_cli.evaluation.mbti import run

    notices: list[str] = []
    with streams.status(f"loading {quiz.model.name}", shown=not quiet) as status:

        def asking(share: float) -> None:
            signals.check()
            status.update(f"asking, {share:.0%}")

        found = run(quiz, status.update, notices.append, asking)
    if not quiet:
        for notice in notices:
            streams.say(f"mpg: {notice}")
    return found


def _named(blend: Blend | None, adapters: tuple[tuple[AdapterPlace, float], ...]) -> str:
    """The blend as one expression."""
    from mpg_cli.personas.expression import format_weight

    terms = [blend.expression] if blend else []
    terms += [f"{place.name}:{format_weight(weight)}" for place, weight in adapters]
    return "+".join(terms)
