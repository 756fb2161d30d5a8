"""`mpg personas new`: a persona file to start from, valid as it is."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible

if TYPE_CHECKING:
    from mpg_cli.personas.importing.scaffold import Wanted

EPILOG = """\b
Examples:
  mpg personas new butler --prompt "You are a butler of the old school."
  mpg personas new thinker --parts I:0.7+T:0.7
  mpg personas new poet --adapter ./poet-lora --base Qwen/Qwen3-0.6B
  mpg personas new grump --edit
\b
An adapter is copied beside the persona file; OWNER/NAME stays on the hub. --edit opens $VISUAL or $EDITOR."""


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the persona.", show_default=False)],
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="System prompt of the persona.", show_default="one to be rewritten"
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR",
            help="A composite of other personas: NAME[:WEIGHT] + ….",
            autocompletion=completers.expression,
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="PATH|REPO", help="LoRA adapter: a PEFT folder or OWNER/NAME.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The model that the adapter is for.",
            show_default="what the adapter says",
            autocompletion=completers.model,
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the persona is like.")] = None,
    persona_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder that gets the persona file.", show_default="the user's persona folder"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a persona, or hide one of another folder.")
    ] = False,
    edit: Annotated[bool, typer.Option("--edit", help="Open the file in an editor.")] = False,
) -> None:
    """Write a persona file to start from."""
    from mpg_cli.config.paths import persona_dir as user_personas
    from mpg_cli.personas.importing import place, scaffold

    streams = Streams.current()
    folder = persona_dir.expanduser() if persona_dir else user_personas()
    wanted = scaffold.Wanted(name, prompt, parts, adapter, base, description)
    made = scaffold.make(wanted, folder)
    editor = _editor() if edit else []
    place.check_free(made, force=force)
    file = place.write(made)
    streams.stdout.write(f"{visible(str(file))}\n")
    streams.stdout.flush()
    for notice in made.notices:
        streams.say(f"mpg: {notice}")
    if editor:
        _edit(editor, file)
    streams.say(f"mpg: try: {_next(wanted, folder, made.where.base)}")


def _editor() -> list[str]:
    """The command of the user's editor. Raises UsageError where none is set."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise UsageError("--edit needs an editor", hint="set EDITOR, for instance to nano")
    return words


def _edit(editor: list[str], file: Path) -> None:
    """Let the user edit the file, and check what comes of it."""
    import subprocess

    from mpg_cli.personas.schema import load_file

    try:
        code = subprocess.run([*editor, str(file)], check=False).returncode
    except OSError as error:
        raise MpgError(f"the editor {editor[0]} cannot be started: {error.strerror}") from None
    if code:
        raise MpgError(f"the editor {editor[0]} failed with exit code {code}")
    load_file(file)


def _next(wanted: Wanted, folder: Path, base: str) -> str:
    """The command that speaks as the new persona."""
    from mpg_cli.personas.registry import search_path

    words = ["mpg", "generate", "-p", wanted.name]
    searched = {os.path.realpath(one) for one in search_path()}
    if os.path.realpath(folder) not in searched:
        words += ["--persona-dir", str(folder)]
    if wanted.base and os.path.isdir(wanted.base):
        words += ["--model", wanted.base]
    elif base and ("/" in base or base == wanted.base):  # else it is the name of a folder somewhere
        words += ["--model", base]
    return f"{shlex.join(words)} '…'"
