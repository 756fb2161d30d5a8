"""`mpg models`: local models and the experts that fit each."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.groups import SearchPath, with_groups
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.options.model import DEFAULT_MODEL
from mpg_cli.options.report import ListFormat

EPILOG = """\b
Examples:
  mpg models
  mpg models mpg-tiny
  mpg models --format json | jq -r '.[].id'
\b
* marks the default of --model. An expert fits if the base in its persona file names this model (or another
copy of it) and the shapes in the files agree; only loading makes it certain. No weights are read and
nothing is downloaded."""


@with_groups
def models(
    folders: SearchPath,
    form: ListFormat,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Show one model in detail: an id or a folder.",
            show_default=False,
            autocompletion=completers.model,
        ),
    ] = None,
) -> None:
    """List the local models and the experts that fit each.

    The bundled model, models in the Hugging Face cache, and the folder named by MPG_MODEL or the config file.
    Personas without an adapter or checkpoint for a model use their prompts.
    """
    from mpg_cli.cli.option_table import sources
    from mpg_cli.models.load import catalogue
    from mpg_cli.personas import registry
    from mpg_cli.render import models as report

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    chosen = str(sources().value("model")[0] or DEFAULT_MODEL)
    found = catalogue.at_hand(chosen)
    for warning in found.warnings:
        streams.message(f"mpg: {warning}")
    if model is not None:
        row = report.row(found.get(model), known, found.in_use)
        report.write_one(streams, row, as_json=form.format == "json")
        return
    if found.in_use not in found.ids:
        streams.message(f"mpg: {visible(chosen, 80)}, the default model, is not downloaded yet")
    rows = [report.row(info, known, found.in_use) for info in found.models]
    report.write_all(streams, rows, form.on(streams.stdout_tty))
