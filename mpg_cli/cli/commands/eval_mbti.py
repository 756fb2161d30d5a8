"""`mpg eval mbti`: an MBTI questionnaire on a blend, scored by log-probabilities."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.commands.eval import QUESTIONNAIRE_OPTIONS
from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions
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
Nothing is sampled. Each item is presented twice, with its options in either order, and scored by the mean
log-probability per token that the blend gives the texts of the options, averaged over both orders. An item
scores between 1 (first pole) and -1 (second pole), a dimension the mean of its items with a 95 % t-interval
over them; the type is the signs. The base's scores are shown beside the blend's, without correction.
\b
FILE.json is a list of items {"question": "…", "A": {"text": "…", "pole": "E"}, "B": {"text": "…", "pole":
"I"}}, or {"statement": "…", "dimension": "EI", "pole": "E"}, where agreement counts for the pole. The options
complete a question that ends in “…”. Published questionnaires are taken as they are: numbered questions
{"1": {"question": "…\\nA. …\\nB. …", "A": "E", "B": "I"}} with their options inside, and lists of statements
with a direction; docs/eval.md has the spellings. docs/eval-mbti.md has the results of the bundled model.
\b
Exit status: 0 success, 2 usage error, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@with_groups
def mbti(
    ctx: typer.Context,
    request_options: Annotated[RequestOptions, Pick(only=QUESTIONNAIRE_OPTIONS)],
    options: QuizOptions,
    form: ReportFormat,
    notices: QuietOptions,
) -> None:
    """Run an MBTI questionnaire on a blend.

    The result is a type, and a score with a confidence interval for each dimension. It describes answers to
    these questions; it is no evidence that a model has a personality.
    """
    from mpg_cli.cli.prompts import read_prompting
    from mpg_cli.evaluation.mbti import run
    from mpg_cli.evaluation.request import quiz_of
    from mpg_cli.render import mbti as report
    from mpg_cli.render.tuning import check_plot

    streams, quiet = Streams.current(), notices.quiet
    if options.plot is not None:
        check_plot(options.plot)
    how = read_prompting(request_options.with_prompt("?").prompt, streams)
    model = request_options.model.resolved()
    messages: list[str] = []
    quiz = quiz_of(options, request_options.blend, model, request_options.scheme.target, how, messages.append)
    if not quiet and (notice := model.notice):
        streams.message(f"mpg: {notice}")
    with streams.status(f"loading {model.name}", shown=not quiet) as status:

        def show(share: float) -> None:
            signals.check()
            status.update(f"scoring items, {share:.0%}")

        found = run(quiz, status.update, messages.append, show)
    for message in () if quiet else messages:
        streams.message(f"mpg: {message}")
    if options.plot is not None:
        report.write_plot(options.plot, found)
    report.write_as(streams, found, as_json=form.format == "json", table=options.all_types)
