"""`mpg personas import`: character cards and Ollama Modelfiles to persona files."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import HARMFUL, visible

if TYPE_CHECKING:
    from mpg_cli.personas.importing.draft import Draft
    from mpg_cli.personas.importing.place import Imported
    from mpg_cli.personas.importing.source import Wishes

EPILOG = """\b
Examples:
  mpg personas import seraphina.png
  mpg personas import *.charx --persona-dir personas
  mpg personas import Modelfile --name mario --base Qwen/Qwen3-0.6B
  mpg personas import card.json --dry-run
\b
Read are Character Cards V1, V2 and V3 (JSON, PNG, .charx), characters of Pygmalion and
text-generation-webui (JSON, YAML) and Ollama Modelfiles. What may not enter a prompt is kept
under `extensions` in the persona file. GGUF files cannot be used; the message says what to do
instead.
\b
Exit status: 0 all are imported, 2 wrong usage, or files that could not be; the others are."""


def import_(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Characters and Modelfiles; - for stdin.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the persona.", show_default="made from the file's"),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What a card's {{user}} becomes: who talks to the persona.",
            show_default="User, or what the card says",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="ID|DIR",
            help="The model that a Modelfile's adapter is for.",
            show_default="FROM",
        ),
    ] = None,
    persona_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder that gets the persona files.",
            show_default="the user's persona folder",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a persona, or hide one of another folder.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the persona files on stdout and write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Turn character cards and Ollama Modelfiles into persona files."""
    from mpg_cli.config.paths import persona_dir as user_personas
    from mpg_cli.personas.importing.source import Wishes
    from mpg_cli.personas.persona_file import check_name

    streams = Streams.current()
    if name is not None:
        check_name(name)
        if len(files) > 1:
            raise UsageError("--name names one persona", hint="import the files one by one")
    if files.count("-") > 1:
        raise UsageError("stdin is named twice", hint="give - once")
    wishes = Wishes(name, None if user is None else _checked_user(user), base)
    folder = Path(os.path.expanduser(persona_dir)) if persona_dir else user_personas()
    run = _Run(streams, folder, wishes, force=force, dry_run=dry_run, quiet=quiet)
    failed = 0
    for file in files:
        try:
            run.take(file)
        except MpgError as error:
            if len(files) == 1:
                raise
            failed += 1
            streams.say(f"mpg: error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    if failed:
        raise UsageError(f"{failed} of {len(files)} files could not be imported")


class _Run:
    """Imports one file after another."""

    def __init__(
        self,
        streams: Streams,
        folder: Path,
        wishes: Wishes,
        *,
        force: bool,
        dry_run: bool,
        quiet: bool,
    ) -> None:
        self.streams, self.folder, self.wishes = streams, folder, wishes
        self.force, self.dry_run, self.quiet = force, dry_run, quiet
        self.names: dict[str, str] = {}  # of the personas of this run, in lower case, to their files

    def take(self, file: str) -> None:
        """Import `file`. Raises MpgError where it cannot be."""
        from mpg_cli.personas.importing import place
        from mpg_cli.personas.importing.source import read_draft

        label = "stdin" if file == "-" else visible(file)
        draft = read_draft(file, self.streams.stdin.buffer, self.wishes)
        new = place.prepare(draft, self.folder, self.wishes.name, label)
        twin = self.names.get(new.where.name.lower())
        if twin is not None:
            raise UsageError(
                f"{label}: {twin} became the persona {new.where.name} already",
                hint="import it alone, with --name",
            )
        place.check_free(new, force=self.force)
        if self.dry_run:
            self.streams.stdout.write(("---\n" if self.names else "") + new.text)
        self.names[new.where.name.lower()] = label
        if not self.quiet:
            for notice in new.notices:
                self.streams.say(f"mpg: {label}: {notice}")
        if not self.dry_run:
            place.write(new)
            if not self.quiet:
                self.streams.say(f"mpg: wrote {new.where.file}; try: {self._next(draft, new)}")

    def _next(self, draft: Draft, new: Imported) -> str:
        """The command that speaks with the new persona."""
        from mpg_cli.personas.registry import search_path

        words = ["mpg", "generate", "-p", new.where.name]
        searched = {os.path.realpath(folder) for folder in search_path()}
        if os.path.realpath(self.folder) not in searched:
            words += ["--persona-dir", str(self.folder)]
        if draft.model:
            words += ["--model", draft.model]
        return f"{shlex.join(words)} '…'"


def _checked_user(user: str) -> str:
    name = user.strip()
    if not name or len(name) > 100 or HARMFUL.search(name) or "\n" in name:
        raise UsageError("--user needs a name of one line, at most 100 characters")
    return name
