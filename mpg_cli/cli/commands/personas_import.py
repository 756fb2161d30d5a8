"""`mpg personas import`: converts character cards and Ollama Modelfiles to persona files."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.options.personas import ImportOptions, PlaceOptions
from mpg_cli.options.report import QuietOptions

EPILOG = """\b
Examples:
  mpg personas import seraphina.png
  mpg personas import *.charx --persona-dir personas
  mpg personas import Modelfile --name mario --base Qwen/Qwen3-0.6B
  mpg personas import card.json --dry-run
\b
Formats: Character Cards V1, V2 and V3 (JSON, PNG, .charx), characters of Pygmalion and
text-generation-webui (JSON, YAML) and Ollama Modelfiles. Fields that do not belong in a prompt are kept
under `extensions` in the persona file.
\b
Exit status: 0 all files imported, 2 usage error or a file could not be imported (the others are)."""


@with_groups
def import_(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Characters and Modelfiles; - for stdin.", show_default=False),
    ],
    options: ImportOptions,
    place: PlaceOptions,
    notices: Annotated[QuietOptions, Pick(helps={"quiet": "Print no notices."})],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the persona files on stdout and write nothing.")
    ] = False,
) -> None:
    """Convert character cards and Ollama Modelfiles to persona files."""
    from mpg_cli.personas.importing.importer import Importer, check_files
    from mpg_cli.personas.importing.place import write

    streams = Streams.current()
    check_files(files, options)
    importer = Importer(place.folder, options, force=place.force)
    failed = shown = 0
    for file in files:
        try:
            taken = importer.take(file, streams.stdin.buffer)
            if dry_run:
                streams.stdout.write(("---\n" if shown else "") + taken.persona.text)
                shown += 1
            for notice in () if notices.quiet else taken.persona.notices:
                streams.message(f"mpg: {taken.label}: {notice}")
            if not dry_run:
                write(taken.persona)
                if not notices.quiet:
                    streams.message(f"mpg: wrote {taken.persona.where.file}; try: {taken.command}")
        except MpgError as error:
            if len(files) == 1:
                raise
            failed += 1
            streams.message(f"mpg: error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    if failed:
        raise UsageError(f"{failed} of {len(files)} files could not be imported")
