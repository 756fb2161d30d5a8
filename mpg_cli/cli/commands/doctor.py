"""`mpg doctor`: is everything here that a reply needs, and does the engine compute what it should?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli import __version__
from mpg_cli.cli import options
from mpg_cli.errors import ExitCode
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions

if TYPE_CHECKING:
    from mpg_cli.diagnostics.check import Check
    from mpg_cli.models.load.catalogue import ModelInfo

EPILOG = """\b
Examples:
  mpg doctor
  mpg doctor --model Qwen/Qwen3-0.6B --network
  mpg doctor --format json > report.json
\b
The JSON is for bug reports: home folder and user name are left out. Nothing is fetched or changed.
Exit status: 0 no problem was found, 1 there is one."""


def doctor(
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    persona_dir: options.PersonaDir = None,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check/--no-self-check", help="Run the engine on the bundled model, for seconds."
        ),
    ] = True,
    network: Annotated[bool, typer.Option("--network", help="Ask the hub whether it answers.")] = False,
    format_: Annotated[
        Literal["text", "json"],
        typer.Option("--format", metavar="text|json", help="A list, or one JSON object."),
    ] = "text",
) -> None:
    """Check the installation.

    Versions, device and memory, files and folders, personas and their adapters, the terminal, and whether
    the engine on the bundled model computes what it should.
    """
    from mpg_cli.diagnostics import engine, library, machine, places, software
    from mpg_cli.diagnostics import network as hub
    from mpg_cli.diagnostics.check import run
    from mpg_cli.personas import registry
    from mpg_cli.render import checks as report

    streams = Streams.current()
    ModelOptions(model, None, device, dtype)  # wrong words are wrong usage
    known = registry.load_default(persona_dir or [])
    writer = report.Writer(streams) if format_ == "text" else None
    found: list[Check] = []

    info = _model(model)
    looks: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("software", software.look),
        ("machine", lambda: machine.look(info, device, dtype)),
        ("files", lambda: places.look(known.directories)),
        ("model", lambda: library.look_at_model(model, info)),
        ("personas", lambda: library.look(known)),
        ("terminal", lambda: machine.look_at_terminal(streams)),
    ]
    if network:
        looks.append(("network", hub.look))
    if self_check:
        looks.append(("engine", lambda: engine.look(device)))
    for section, look in looks:
        with streams.status(f"checking: {section}"):
            checks = list(run(section, look))
        found += checks
        if writer:
            writer.write(checks)
    if writer:
        writer.end(found)
    else:
        told = {"mpg": __version__, "checks": [check.as_json() for check in found]}
        streams.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    if any(check.status == "problem" for check in found):
        raise typer.Exit(ExitCode.FAILURE)


def _model(name: str) -> ModelInfo | None:
    """What the files of the model say; None where it is not on this disk."""
    from mpg_cli.models.load import catalogue

    if name == DEFAULT_MODEL:
        return catalogue.bundled()
    return catalogue.folder_model(name) or next((i for i in catalogue.cached()[0] if i.id == name), None)
