"""`mpg config set`, `unset` and `path`: the config file, changed with its comments kept."""

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
            metavar="VALUE...",
            help="One value; several for options that repeat.",
            autocompletion=completers.config_value,
        ),
    ],
) -> None:
    """Set an option in the config file.

    Comments and everything else in the file stay as they are.
    """
    from mpg_cli.config import edit

    own = option_table.key(key)
    edit.set_key(config_file(), key, edit.read_value(own, value))
    if os.environ.get(own.variable):
        Streams.current().say(f"mpg: {own.variable} is set and goes before the file")


def unset(key: Annotated[str, typer.Argument(metavar="KEY", autocompletion=completers.config_key)]) -> None:
    """Take an option out of the config file.

    This works for keys that are no option too, and where the file has mistakes.
    """
    from mpg_cli.config import edit

    if not edit.unset_key(config_file(), key):
        Streams.current().say(f"mpg: {visible(key, 60)} is not in {visible(str(config_file()))}")
        raise typer.Exit(1)


def path() -> None:
    """Print where the config file is or would be."""
    write_line(Streams.current(), str(config_file()))
