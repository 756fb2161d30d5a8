"""`mpg doctor`: checks the installation and the results of the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mpg_cli import __version__
from mpg_cli.cli.groups import Pick, SearchPath, with_groups
from mpg_cli.errors import ExitCode
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.report import ReportFormat

if TYPE_CHECKING:
    from mpg_cli.diagnostics.check import Check

EPILOG = """\b
Examples:
  mpg doctor
  mpg doctor --model Qwen/Qwen3-0.6B --network
  mpg doctor --format json > report.json
\b
The JSON is for bug reports: home folder and user name are left out. Nothing is downloaded or changed.
Exit status: 0 no problem found, 1 problems found."""


@with_groups
def doctor(
    model: Annotated[ModelOptions, Pick(only=("model", "device", "dtype"))],
    folders: SearchPath,
    form: ReportFormat,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check/--no-self-check", help="Run the engine on the bundled model; takes seconds."
        ),
    ] = True,
    network: Annotated[bool, typer.Option("--network", help="Check the connection to the hub.")] = False,
) -> None:
    """Check the installation.

    Versions, device and memory, files and folders, personas and their adapters, the terminal, and the results
    of the engine on the bundled model.
    """
    from mpg_cli.cli.option_table import keys
    from mpg_cli.diagnostics.check import run
    from mpg_cli.diagnostics.sections import sections
    from mpg_cli.personas import registry
    from mpg_cli.render.checks import Writer

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    writer = Writer(streams) if form.format == "text" else None
    found: list[Check] = []
    for section, check in sections(model, known, keys(), streams, network=network, self_check=self_check):
        with streams.status(f"checking: {section}"):
            checks = list(run(section, check))
        found += checks
        if writer:
            writer.write(checks)
    if writer:
        writer.end(found)
    else:
        report = {"mpg": __version__, "checks": [check.as_json() for check in found]}
        streams.stdout.write(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    if any(check.status == "problem" for check in found):
        raise typer.Exit(ExitCode.FAILURE)
