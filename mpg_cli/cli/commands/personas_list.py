"""`mpg personas list`: personas and their experts for a model."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.groups import ModelName, SearchPath, with_groups
from mpg_cli.io.terminal import Streams
from mpg_cli.options.report import ListFormat

EPILOG = """\b
Examples:
  mpg personas list
  mpg personas list --tag character --model Qwen/Qwen3-0.6B
  mpg personas list | cut -f 1
\b
On a pipe a line is: name, experts, parts, tags, file, hidden by, description, models with adapters,
separated by tabs. The experts of a persona are those for the model (adapter, checkpoint or prompt), the one
in use first. Adapters for another model: mpg train --library --model ID."""


@with_groups
def list_(
    model: ModelName,
    folders: SearchPath,
    form: ListFormat,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TAG",
            help="Only personas with this tag; repeat to require several.",
            autocompletion=completers.tag,
        ),
    ] = None,
) -> None:
    """List personas and their experts for a model."""
    from mpg_cli.config.named_models import without_auto
    from mpg_cli.personas import registry
    from mpg_cli.render.catalogue import catalogue_of, write_catalogue

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    catalogue = catalogue_of(known, without_auto(model.name), tag or [])
    write_catalogue(streams, catalogue, form.on(streams.stdout_tty))
    for message in catalogue.problems:
        for line in message.splitlines():
            streams.message(f"mpg: {line}")
