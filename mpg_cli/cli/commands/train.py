"""`mpg train`: trains a persona's adapter and writes it with its persona file."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.errors import ExitCode
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.personas import PlaceOptions
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.report import QuietOptions, ReportFormat
from mpg_cli.options.training import AboutOptions, DataOptions
from mpg_cli.training.settings import Choices

EPILOG = """\b
Examples:
  mpg train grump --data prefs.jsonl --model Qwen/Qwen3-0.6B
  mpg train grump --data prefs.jsonl --loss sigmoid --beta 0.2 --epochs 1 --rank 32
  mpg train bard --sft --data sonnets.jsonl --description "Speaks in verse." --license CC0-1.0
\b
Training needs TRL and PEFT: pip install 'mpg-cli[train]'. Chosen and rejected replies should differ only in
the persona. Invalid rows are reported and skipped. An interrupted run keeps its last checkpoint: run the same
command again to resume, with --force to start over. The summary goes to stdout, everything else to stderr.
\b
Exit status: 0 success, 2 usage error or invalid data, 1 the model or the run failed, 130 interrupted,
143 terminated."""

PLACE_HELP = {"persona_dir": "Folder to write the persona file and the adapter to."}


@with_groups
def train(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the persona.", show_default=False)],
    data: DataOptions,
    model: Annotated[ModelOptions, Pick(without=("compile",))],
    template: Annotated[PromptOptions, Pick(only=("template_arg",))],
    place: Annotated[PlaceOptions, Pick(only=("persona_dir",), helps=PLACE_HELP)],
    about: AboutOptions,
    choices: Choices,
    form: ReportFormat,
    notices: QuietOptions,
) -> None:
    """Train a persona from preferences.

    A LoRA adapter is trained to prefer the chosen over the rejected replies (DPO, IPO and similar losses) and
    written with a persona file, ready for `mpg generate --persona NAME`.
    """
    from mpg_cli.render.training import Progress
    from mpg_cli.training import workflow
    from mpg_cli.training.notices import Notices

    streams = Streams.current()
    reporter = Notices(streams.message, quiet=notices.quiet)
    workflow.check_extra()
    model = workflow.base_model(place.folder, name, model)
    where = workflow.destination(place.folder, name, model.name)
    request = workflow.read_request(
        where, model, data, about, choices, dict(template.template_args), reporter
    )
    if notice := model.notice:
        reporter.say(notice)
    with streams.status(f"loading {model.name}", shown=not notices.quiet) as status:
        ready = workflow.prepare(request, status.update)
    outcome = workflow.perform(request, ready, reporter, Progress(streams, quiet=notices.quiet))
    if isinstance(outcome, ExitCode):
        raise typer.Exit(outcome)
    shown = json.dumps(outcome.as_dict(), ensure_ascii=False) if form.format == "json" else outcome.as_text()
    streams.stdout.write(shown + "\n")
