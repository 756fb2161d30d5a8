"""`mpg personas new`: writes a persona file to start from, valid as it is."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from mpg_cli.cli.groups import with_groups
from mpg_cli.config.named_models import NAMES
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.options.personas import NewOptions, PlaceOptions

EPILOG = """\b
Examples:
  mpg personas new butler --prompt "You are a butler of the old school."
  mpg personas new thinker --parts I:0.7+T:0.7
  mpg personas new poet --adapter ./poet-lora --base Qwen/Qwen3-0.6B
  mpg personas new grump --edit
\b
An adapter is copied beside the persona file; OWNER/NAME stays on the hub. --edit opens $VISUAL or $EDITOR."""


@with_groups
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the persona.", show_default=False)],
    wanted: NewOptions,
    place: PlaceOptions,
    edit: Annotated[bool, typer.Option("--edit", help="Open the file in an editor.")] = False,
) -> None:
    """Write a new persona file."""
    from mpg_cli.cli import editor
    from mpg_cli.personas.importing.place import check_free, write
    from mpg_cli.personas.importing.scaffold import make
    from mpg_cli.personas.persona_file import options_to_find
    from mpg_cli.personas.schema import load_file

    streams = Streams.current()
    made = make(name, wanted, place.folder)
    command = editor.command() if edit else []
    check_free(made, force=place.force)
    file = write(made)
    streams.stdout.write(f"{visible(str(file))}\n")
    streams.stdout.flush()
    for notice in made.notices:
        streams.message(f"mpg: {notice}")
    if command:
        editor.edit(command, file)
        load_file(file)  # raises if the edited file is invalid
    model = _model(wanted.base, made.where.base)
    words = ["mpg", "generate", "-p", name, *options_to_find(place.folder, model)]
    streams.message(f"mpg: try: {shlex.join(words)} '…'")


def _model(given: str | None, base: str) -> str | None:
    """The value of --model for the base of an adapter: a folder or a name of mpg as given, or an id."""
    if given and (given in NAMES or os.path.isdir(given)):
        return given
    return base if base and ("/" in base or base == given) else None  # otherwise a folder's name
