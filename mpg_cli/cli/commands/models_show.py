"""`mpg models show`: one local model and the experts that fit it."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.commands.models_list import local_models
from mpg_cli.cli.groups import SearchPath, with_groups
from mpg_cli.io.terminal import Streams
from mpg_cli.options.report import ReportFormat

EPILOG = """\b
Examples:
  mpg models show mpg-tiny
  mpg models show ~/models/mine --format json
\b
No weights are read and nothing is downloaded."""


@with_groups
def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The name, hub id or folder of a model on this disk.",
            show_default=False,
            autocompletion=completers.model,
        ),
    ],
    folders: SearchPath,
    form: ReportFormat,
) -> None:
    """Show one model in detail: its files, its size, and the experts that fit it."""
    from mpg_cli.config.named_models import without_auto
    from mpg_cli.personas import registry
    from mpg_cli.render import models as report

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    found = local_models(streams)
    row = report.row(found.get(without_auto(model)), known, found.in_use)
    report.write_one(streams, row, as_json=form.format == "json")
