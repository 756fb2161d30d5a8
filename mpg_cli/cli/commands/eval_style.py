"""`mpg eval style`: how much of each persona the replies of a blend show, their fluency and diversity."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.commands.eval import NOT_IN_STUDIES, STUDY_DEFAULTS, STUDY_HELPS
from mpg_cli.cli.groups import Pick, given, with_groups
from mpg_cli.cli.requests import RequestOptions, as_begun, read_request
from mpg_cli.io.terminal import Streams
from mpg_cli.options.evaluation import JUDGES, JudgeOptions, RoleplayOptions, StudyOptions
from mpg_cli.options.report import QuietOptions, ReportFormat

EPILOG = f"""\b
Examples:
  mpg eval style -p INTJ+pirate
  mpg eval style -p INTJ+pirate --judge classifier --prompts mine.txt -o replies.jsonl
  mpg eval style -p INTJ+pirate --model Qwen/Qwen3-8B --judge encoder
  mpg eval style -p mine+yours --markers words.yaml --format json
  mpg eval style -p pirate --model Qwen/Qwen3-8B --judge-url http://localhost:8000/v1 --judge-model judge
  mpg eval style --data roles.jsonl --model Qwen/Qwen3-8B --judge-url URL --judge-model NAME
  mpg eval style --data alpaca.json -p INTJ+pirate --model Qwen/Qwen3-8B
\b
{JUDGES}
\b
Fluency is the mean log-probability of the reply's tokens under the base, after the prompt without a persona.
distinct-n is the share of distinct n-grams, self-BLEU the similarity of the replies to each other.
\b
--data has role-playing lines {{"profile": "…", "personality": "…", "reference_answer": "…"}}, whose two texts
are experts, and perhaps a "question"; --judge-url sees the reference, --judge encoder gives the similarity of
replies to the three texts (cosine of sentence embeddings, no share of a persona). Or it has open questions
{{"instruction": "…", "input": "…", "output": "…"}} for --persona. Both are compared by BLEU: docs/eval.md.
\b
Exit status: 0 success, 2 usage error, 1 the model, an adapter, the judge or the run failed, 130 interrupted,
143 terminated."""


@with_groups
def style(
    ctx: typer.Context,
    request_options: Annotated[
        RequestOptions, Pick(without=NOT_IN_STUDIES, defaults=STUDY_DEFAULTS, helps=STUDY_HELPS)
    ],
    roles: RoleplayOptions,
    options: StudyOptions,
    judges: JudgeOptions,
    form: ReportFormat,
    notices: QuietOptions,
) -> None:
    """Measure how much of each persona the replies of a blend show.

    The blend replies to a set of prompts, a judge looks for each of its personas, and fluency, diversity,
    length and speed are measured.
    """
    from mpg_cli.evaluation.data_lines import read_data
    from mpg_cli.evaluation.request import study_of_blend, study_of_data
    from mpg_cli.evaluation.study import style
    from mpg_cli.render.study import under_way
    from mpg_cli.render.style import write_findings

    streams = Streams.current()
    data = None if roles.data is None else read_data(roles.data, options.count)
    kind, blend = None if data is None else data.kind, request_options.blend
    roles.check_given(lambda key: given(ctx, key), kind, blend=bool(blend.personas or blend.adapters))
    request = read_request(ctx, request_options.with_prompt("?"), streams, per_line=kind == "roles")
    request, notice = as_begun(request, options.output)
    with streams.status("preparing the judge", shown=not notices.quiet):
        if data is None:
            study = study_of_blend(request, options, judges)
        else:
            study = study_of_data(request, data, roles, options, judges, blend.scale)
    if notice and not notices.quiet:
        streams.message(f"mpg: {notice}")
    with under_way(study, streams, quiet=notices.quiet) as running:
        found = style(running)
    write_findings(streams, found, as_json=form.format == "json")
