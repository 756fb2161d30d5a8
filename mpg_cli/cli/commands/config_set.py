"""`mpg config set`, `unset` and `path`: edit the config file and keep its comments."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mpg_cli.cli import completers, option_table
from mpg_cli.config.paths import config_file
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.render.settings import write_line

Key = Annotated[
    str, typer.Argument(metavar="KEY", help="Such as max-tokens.", autocompletion=completers.config_key)
]


def set_(
    key: Key,
    value: Annotated[
        list[str],
        typer.Argument(
            metavar="VALUE",
            help="One value; several for repeatable options.",
            autocompletion=completers.config_value,
        ),
    ],
) -> None:
    """Set an option in the config file.

    Comments and all other keys are preserved.
    """
    from mpg_cli.config import edit

    own = option_table.key(key)
    edit.set_key(config_file(), key, edit.read_value(own, value))
    if os.environ.get(own.variable):
        Streams.current().message(f"mpg: {own.variable} is set and overrides the file")


def unset(key: Annotated[str, typer.Argument(metavar="KEY", autocompletion=completers.config_key)]) -> None:
    """Remove an option from the config file.

    Unknown keys can be removed too, and invalid values do not matter.
    """
    from mpg_cli.config import edit

    if not edit.unset_key(config_file(), key):
        Streams.current().message(f"mpg: {visible(key, 60)} is not in {visible(str(config_file()))}")
        raise typer.Exit(1)


def path() -> None:
    """Print the path of the config file."""
    write_line(Streams.current(), str(config_file()))
