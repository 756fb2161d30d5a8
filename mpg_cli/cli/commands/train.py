"""`mpg train`: trains a persona's adapter, or those of the library, and writes them with their persona files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.errors import ExitCode
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.personas import PlaceOptions
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.report import QuietOptions, ReportFormat
from mpg_cli.options.training import AboutOptions, DataOptions, HeardOptions, LibraryOptions
from mpg_cli.training.settings import Choices

EPILOG = """\b
Examples:
  mpg train grump --data prefs.jsonl --model Qwen/Qwen3-0.6B
  mpg train grump --data prefs.jsonl --loss sigmoid --beta 0.2 --epochs 1 --rank 32
  mpg train --library --model smollm2
  mpg train --library --personas E,I,pirate --model Qwen/Qwen3-8B --persona-dir mine
  mpg train bard --sft --data sonnets.jsonl --description "Speaks in verse." --license CC0-1.0
\b
Training needs TRL and PEFT: pip install 'mpg-cli[train]'. Chosen and rejected replies should differ only in
the persona. Invalid rows are reported and skipped. An interrupted run keeps its last checkpoint: run the same
command again to resume, with --force to start over. --library goes from persona to persona, keeps those that
are done for this model, data and settings, and writes a manifest beside the adapters. The summary goes to stdout, everything else to stderr.
\b
Exit status: 0 success, 2 usage error or invalid data, 1 the model or the run failed, 130 interrupted,
143 terminated."""

PLACE_HELP = {"persona_dir": "Folder to write the persona file and the adapter to."}


@with_groups
def train(
    ctx: typer.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the persona.", show_default=False)
    ] = None,
    data: DataOptions,
    library: LibraryOptions,
    model: Annotated[ModelOptions, Pick(without=("compile",))],
    template: Annotated[PromptOptions, Pick(only=("template_arg",))],
    place: Annotated[PlaceOptions, Pick(only=("persona_dir",), helps=PLACE_HELP)],
    about: AboutOptions,
    choices: Choices,
    hearing: HeardOptions,
    form: ReportFormat,
    notices: QuietOptions,
) -> None:
    """Train a persona from preferences.

    A LoRA adapter imitates the chosen replies, is trained to prefer them over the rejected ones (DPO, IPO and
    similar losses), and is written with a persona file, ready for `mpg generate --persona NAME`.
    """
    from mpg_cli.training import workflow

    library.check(name, data, about)
    workflow.check_extra()
    args = dict(template.template_args)
    if name is None:
        text, report = _library(data, library, model, args, place, choices, hearing.heard, notices.quiet)
    else:
        text, report = _one(name, data, model, args, place, about, choices, hearing.heard, notices.quiet)
    shown = json.dumps(report, ensure_ascii=False) if form.format == "json" else text
    Streams.current().stdout.write(shown + "\n")


def _one(
    name: str,
    data: DataOptions,
    model: ModelOptions,
    template_args: dict[str, Any],
    place: PlaceOptions,
    about: AboutOptions,
    choices: Choices,
    heard: int,
    quiet: bool,
) -> tuple[str, dict[str, Any]]:
    """Train one persona; the summary as text and as an object."""
    from mpg_cli.render.training import Progress
    from mpg_cli.training import workflow
    from mpg_cli.training.notices import Notices

    streams = Streams.current()
    reporter = Notices(streams.message, quiet=quiet)
    model = workflow.base_model(place.folder, name, model)
    where = workflow.destination(place.folder, name, model.name)
    request = workflow.read_request(where, model, data, about, choices, template_args, reporter)
    if notice := model.notice:
        reporter.say(notice)
    with streams.status(f"loading {model.name}", shown=not quiet) as status:
        ready = workflow.prepare(request, status.update)
    reporter.plan(ready.loaded, ready.settings)
    outcome = workflow.perform(request, ready, reporter, Progress(streams, quiet=quiet))
    if isinstance(outcome, ExitCode):
        raise typer.Exit(outcome)
    if heard:
        from mpg_cli.training.heard import Listener, advice

        listened = workflow.hearing(request, ready, heard)
        del ready  # its model makes room for the one that replies
        with streams.status("listening to replies", shown=not quiet), Listener.load(model) as listener:
            outcome = replace(outcome, heard=listener.listen(outcome.where.adapter, listened))
        if outcome.heard is not None and (words := advice(outcome.heard, outcome.settings)):
            reporter.say(words)
    return outcome.as_text(), outcome.as_dict()


def _library(
    data: DataOptions,
    library: LibraryOptions,
    model: ModelOptions,
    template_args: dict[str, Any],
    place: PlaceOptions,
    choices: Choices,
    heard: int,
    quiet: bool,
) -> tuple[str, dict[str, Any]]:
    """Train the personas of the library; the table as text and as an object."""
    from mpg_cli.render.training import Progress
    from mpg_cli.training import library as libraries
    from mpg_cli.training import workflow
    from mpg_cli.training.notices import Notices

    streams = Streams.current()
    reporter = Notices(streams.message, quiet=quiet)
    model = model.resolved()
    requests = libraries.read_library(
        place.folder, library.personas, model, choices, template_args, reporter
    )
    if notice := model.notice:
        reporter.say(notice)
    with streams.status(f"loading {model.name}", shown=not quiet):
        loaded = workflow.load(model)
    opened = libraries.open_library(requests, loaded, force=data.force)
    outcome = libraries.train_library(
        opened, loaded, reporter, lambda label: Progress(streams, quiet=quiet, label=label)
    )
    del loaded
    if isinstance(outcome, ExitCode):
        raise typer.Exit(outcome)

    if heard:
        from mpg_cli.training.heard import Listener

        libraries.listen_to_library(outcome, heard, lambda: Listener.load(model), reporter)
    report = {
        "base": requests[0].where.base,
        "manifest": str(outcome.manifest.file),
        "personas": libraries.table(outcome),
    }
    return libraries.as_text(outcome), report
