"""`mpg config get` and `list`: the settings of the config file and the environment."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import option_table
from mpg_cli.cli.commands.config_set import Key
from mpg_cli.io.terminal import Streams
from mpg_cli.render.settings import write_setting, write_unset

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the origin of each value.")]


def get(key: Key, verbose: Verbose = False) -> None:
    """Print the value of an option that commands use.

    Exit status 1 if the option is not set and has no fixed default.
    """
    streams = Streams.current()
    value, origin = option_table.effective(option_table.key(key), option_table.sources())
    if value is None:
        streams.message(f"mpg: {key} is not set{f' (default: {origin})' if origin else ''}")
        raise typer.Exit(1)
    write_setting(streams, value, f"  ({origin})" if verbose else "")


def list_(
    all_: Annotated[bool, typer.Option("--all", "-a", help="Include options at their default.")] = False,
    verbose: Verbose = False,
) -> None:
    """List the options set in the file and the environment."""
    streams, sources = Streams.current(), option_table.sources()
    for key in option_table.keys().values():
        if not key.in_file:
            continue
        value, origin = option_table.effective(key, sources)
        if value is None and all_:
            write_unset(streams, key.name, origin)
        elif value is not None and (all_ or sources.value(key.name)[1]):
            write_setting(streams, value, f"  # {origin}" if verbose else "", name=key.name)
