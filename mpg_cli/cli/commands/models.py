"""`mpg models`: which models are at hand, and which experts of the library fit each."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.groups import with_groups
from mpg_cli.cli.picks import SearchPath
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
* marks the model that commands use unless --model names another. An expert fits by the name of its base in
its persona file, or of the same model elsewhere, with the shapes that the files have; all is sure once it
loads. No weights are read and nothing is fetched."""


@with_groups
def models(
    folders: SearchPath,
    form: ListFormat,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Tell all about this one: an id or a folder.",
            show_default=False,
            autocompletion=completers.model,
        ),
    ] = None,
) -> None:
    """List the models at hand and the experts that fit each.

    The bundled model, models in the Hugging Face cache, and the folder that MPG_MODEL or the config file
    names. Personas without an adapter or checkpoint for a model are used through their prompts.
    """
    from mpg_cli.cli.option_table import sources
    from mpg_cli.models.load import catalogue
    from mpg_cli.personas import registry
    from mpg_cli.render import models as report

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    chosen = str(sources().value("model")[0] or DEFAULT_MODEL)
    found = catalogue.local_models(chosen)
    for warning in found.warnings:
        streams.say(f"mpg: {warning}")
    if model is not None:
        row = report.row(found.get(model), known, found.in_use)
        report.write_one(streams, row, as_json=form.format == "json")
        return
    if found.in_use not in found.ids:
        streams.say(f"mpg: {visible(chosen, 80)}, the model in use, is not on this disk yet")
    rows = [report.row(info, known, found.in_use) for info in found.models]
    report.write_all(streams, rows, form.on(streams.stdout_tty))
