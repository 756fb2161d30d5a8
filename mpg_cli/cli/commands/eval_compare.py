"""`mpg eval compare`: a blend and other ways to combine several personas on one model."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.commands.eval import NOT_IN_STUDIES, STUDY_DEFAULTS, STUDY_HELPS
from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, as_begun, read_request
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.options.evaluation import JUDGES, JudgeOptions, MethodsOptions, StudyOptions
from mpg_cli.options.report import QuietOptions

EPILOG = f"""\b
Examples:
  mpg eval compare -p I+N+pirate
  mpg eval compare -p INTJ+pirate --judge classifier -o replies.jsonl --plot methods.svg
  mpg eval compare -p mine+yours --markers words.yaml --format csv
\b
The methods: base (no persona), single:NAME (one persona alone, at weight 1), prompts (the system prompts of
all personas joined, no adapter), merged (one model with the weighted sum of all adapters in its weights),
merged 1/K (the same with the weights divided by the number of personas), mixture, threshold (the product by
the rule of the paper), exact (the product by the exact rule: ours). All reply to the same prompts with the
same seeds and sampling options; the text of exact is compared with token-by-token decoding.
\b
{JUDGES}
\b
Exit status: 0 success, 2 usage error, 1 the model, an adapter, the judge or the run failed, 130 interrupted,
143 terminated."""

# The comparison sets these itself.
OWN = ("target", "rule", "threshold", "threshold_window", "candidates", "ahead")


@with_groups
def compare(
    ctx: typer.Context,
    request_options: Annotated[
        RequestOptions, Pick(without=(*NOT_IN_STUDIES, *OWN), defaults=STUDY_DEFAULTS, helps=STUDY_HELPS)
    ],
    options: StudyOptions,
    judges: JudgeOptions,
    methods: MethodsOptions,
    notices: QuietOptions,
) -> None:
    """Compare a blend with other ways to combine its personas.

    The result is a table of presence, fluency and speed, and the difference between exact and the best other
    method.
    """
    from mpg_cli.evaluation.request import study_of_blend
    from mpg_cli.evaluation.study import compare
    from mpg_cli.render import comparison as report
    from mpg_cli.render.study import under_way
    from mpg_cli.render.tuning import check_plot

    streams = Streams.current()
    if methods.plot is not None:
        check_plot(methods.plot)
    if judges.judge == "none":
        raise UsageError("a comparison needs a judge", hint="choose markers, classifier, encoder or external")
    request = read_request(ctx, request_options.with_prompt("?"), streams)
    request, notice = as_begun(request, options.output)
    with streams.status("preparing the judge", shown=not notices.quiet):
        study = study_of_blend(request, options, judges, apart=True)
    if notice and not notices.quiet:
        streams.message(f"mpg: {notice}")
    with under_way(study, streams, quiet=notices.quiet) as running:
        found = compare(running)
    if methods.plot is not None:
        report.write_plot(methods.plot, found)
    report.write_as(streams, found, methods.format)
