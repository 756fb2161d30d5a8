"""`mpg personas check`: reports all errors in persona files and whether their adapters fit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.cli.groups import SearchPath, with_groups
from mpg_cli.errors import ExitCode
from mpg_cli.io.terminal import Streams

EPILOG = """\b
Examples:
  mpg personas check
  mpg personas check personas/ extra.yaml
  mpg personas check personas/ --model mpg-tiny
\b
Each error is a line FILE:LINE: KEY: message. With --model the shapes of its adapters are compared with those
of the model; weights are not loaded, and only the model's config.json is downloaded.
\b
Exit status: 0 no errors, 2 a persona file is invalid, 1 an adapter is damaged, missing or does not fit."""


@with_groups
def check(
    folders: SearchPath,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Persona files, or folders of them.",
            show_default="all folders of the search path",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID|PATH|ollama:NAME",
            help="Check that the adapters for this model have its shapes.",
            show_default=False,
            autocompletion=completers.model,
        ),
    ] = None,
) -> None:
    """Check persona files and their adapters."""
    from mpg_cli.config.named_models import without_auto
    from mpg_cli.diagnostics import persona_files
    from mpg_cli.personas import inspection, registry
    from mpg_cli.render.inspection import write_problems, write_summary

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    files = list(persona_files.files_of(paths or [], known))
    own = list(dict.fromkeys(file.parent for file in files)) if paths else []
    report = inspection.inspect(files, registry.Registry.load([*own, *known.directories]))
    write_problems(streams, report.problems)
    damaged = persona_files.damaged(report)
    write_problems(streams, damaged.values())
    count, note = len(report.problems) + len(damaged), ""
    if model is not None:
        model = without_auto(model)
        with streams.status(f"reading the shapes of {model}") as status:
            compared = persona_files.compare(report, model, damaged, status.update)
        write_problems(streams, [*compared.unfit, *compared.passed])
        count, note = count + len(compared.unfit), f"; {compared.note(model)}"
    write_summary(streams, report, count, note)
    if report.problems:
        raise typer.Exit(ExitCode.USAGE)
    if count:
        raise typer.Exit(ExitCode.FAILURE)
