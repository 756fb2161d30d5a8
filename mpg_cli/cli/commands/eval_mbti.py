"""`mpg eval mbti`: a questionnaire put to a blend, read from log-probabilities."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.commands.eval import QUIZZED
from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, default_model_notice
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.evaluation import QuizOptions
from mpg_cli.options.report import QuietOptions, ReportFormat

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


@with_groups
def mbti(
    ctx: typer.Context,
    asked: Annotated[RequestOptions, Pick(only=QUIZZED)],
    options: QuizOptions,
    form: ReportFormat,
    notices: QuietOptions,
) -> None:
    """Put an MBTI questionnaire to a blend.

    The result is a type, and a score with a confidence interval for each dimension. It says how the blend
    answers these questions, and not that a model has a personality.
    """
    from mpg_cli.cli.prompts import read_prompting
    from mpg_cli.evaluation.mbti import run
    from mpg_cli.evaluation.request import quiz_of
    from mpg_cli.render import mbti as report
    from mpg_cli.render.tuning import check_plot

    streams, quiet = Streams.current(), notices.quiet
    if options.plot is not None:
        check_plot(options.plot)
    how = read_prompting(asked.with_prompt("?").prompt, streams)
    quiz = quiz_of(options, asked.blend, asked.model, asked.scheme.target, how)
    if not quiet and (notice := default_model_notice(ctx, asked.model.name)):
        streams.say(f"mpg: {notice}")
    told: list[str] = []
    with streams.status(f"loading {asked.model.name}", shown=not quiet) as status:

        def show(share: float) -> None:
            signals.check()
            status.update(f"asking, {share:.0%}")

        found = run(quiz, status.update, told.append, show)
    for message in () if quiet else told:
        streams.say(f"mpg: {message}")
    if options.plot is not None:
        report.write_plot(options.plot, found)
    report.write_as(streams, found, as_json=form.format == "json", table=options.all_types)
