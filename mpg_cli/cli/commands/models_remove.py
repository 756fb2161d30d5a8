"""`mpg models remove`: removes a downloaded or converted model from the disk."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import size_text, visible

EPILOG = """\b
Examples:
  mpg models remove smollm2
  mpg models remove Qwen/Qwen3-0.6B --yes
\b
Other programs use the Hugging Face cache too: a model of the hub is gone for them as well."""


def remove(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name that mpg models lists.",
            show_default=False,
            autocompletion=completers.model_to_remove,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model that was downloaded or converted from the disk.

    A GGUF file of yours stays where it is; what mpg made of it is removed.
    """
    from mpg_cli.models.load.removal import find_removable

    streams = Streams.current()
    found = find_removable(name)
    what = f"{visible(found.name)} ({size_text(found.size)})"
    if not yes:
        if not (streams.stdin_tty and streams.stderr_tty):
            raise UsageError(f"there is no terminal to ask on, so {what} is kept", hint="confirm with --yes")
        if not typer.confirm(f"remove {what}?", err=True):
            streams.message("mpg: nothing is removed")
            return
    found.remove()
    streams.message(f"mpg: removed {visible(found.name)}, {size_text(found.size)} are free again")
