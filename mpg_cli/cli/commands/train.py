"""`mpg train`: trains a persona's adapter, or those of the library, and writes persona files with them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
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
  mpg train --library --model Qwen/Qwen3-0.6B
  mpg train --library --personas E,I,pirate --model Qwen/Qwen3-8B --persona-dir mine
  mpg train bard --sft --data sonnets.jsonl --description "Speaks in verse." --license CC0-1.0
\b
Training needs TRL and PEFT: pip install 'mpg-cli[train]'. Chosen and rejected replies should differ only in
the persona. Invalid rows are reported and skipped. An interrupted run keeps its last checkpoint: run the same
command again to resume, with --force to start over. --library goes from persona to persona, keeps adapters
that are there for this model, data and settings, and writes a manifest beside them. The summary goes to
stdout, everything else to stderr.
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

    A LoRA adapter learns what the chosen replies have beyond the rejected ones, by imitation or by a
    preference loss (DPO, IPO and similar ones), and is written with a persona file, ready for
    `mpg generate --persona NAME`.
    """
    from mpg_cli.cli.train_run import TrainRun
    from mpg_cli.training.workflow import check_extra

    library.check(name, data, about)
    check_extra()
    args = dict(template.template_args)
    run = TrainRun(data, model, args, place, choices, hearing.heard, notices.quiet)
    text, report = run.library(library) if name is None else run.persona(name, about)
    shown = json.dumps(report, ensure_ascii=False) if form.format == "json" else text
    Streams.current().stdout.write(shown + "\n")
