"""`mpg personas show`: shows a persona in full, or an expression as a tree."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.groups import ModelName, SearchPath, with_groups
from mpg_cli.io.terminal import Streams
from mpg_cli.options.report import TreeFormat

EPILOG = """\b
Examples:
  mpg personas show pirate
  mpg personas show INTJ
  mpg personas show INTJ:0.5+pirate --format json
\b
In a tree the number after a name is its weight there; the number after = is the product of the weights
from the top."""


@with_groups
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|EXPR",
            help="A persona, or an expression as for generate.",
            show_default=False,
            autocompletion=completers.expression,
        ),
    ],
    model: ModelName,
    folders: SearchPath,
    form: TreeFormat,
) -> None:
    """Show a persona in full, a composite or an expression as a tree."""
    from mpg_cli.config.named_models import without_auto
    from mpg_cli.personas import registry
    from mpg_cli.render.portrait import portrait_of, write_portrait

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    portrait = portrait_of(what, known, without_auto(model.name))
    write_portrait(streams, portrait, form.on(streams.stdout_tty))
