"""`mpg models`: which models are at hand, and which experts of the library fit each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpg_cli.cli import completers, options
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.options.model import DEFAULT_MODEL

if TYPE_CHECKING:
    from mpg_cli.models.load.catalogue import ModelInfo
    from mpg_cli.personas.registry import Registry

EPILOG = """\b
Examples:
  mpg models
  mpg models mpg-tiny
  mpg models --format json | jq -r '.[].id'
\b
* marks the model that commands use unless --model names another. An expert fits by the name of its base in
its persona file, or of the same model elsewhere, with the shapes that the files have; all is sure once it
loads. No weights are read and nothing is fetched."""

FormatName = Annotated[
    Literal["table", "plain", "json"] | None,
    typer.Option(
        "--format",
        metavar="table|plain|json",
        help="plain: tabs between the columns; json: with the names of the experts.",
        show_default="table on a terminal, plain on a pipe",
    ),
]


def models(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Tell all about this one: an id or a folder.",
            show_default=False,
            autocompletion=completers.model,
        ),
    ] = None,
    persona_dir: options.PersonaDir = None,
    format_: FormatName = None,
) -> None:
    """List the models at hand and the experts that fit each.

    The bundled model, models in the Hugging Face cache, and the folder that MPG_MODEL or the config file
    names. Personas without an adapter or checkpoint for a model speak through their prompts.
    """
    from mpg_cli.models.load import catalogue
    from mpg_cli.personas import registry
    from mpg_cli.render import models as report

    streams = Streams.current()
    known = registry.load_default(persona_dir or [])
    chosen = _chosen()
    cached, warnings = catalogue.cached()
    found = [catalogue.bundled(), *cached]
    named = catalogue.folder_model(chosen)
    if named and named.id not in {info.id for info in found} and chosen != DEFAULT_MODEL:
        found.append(named)
    for warning in warnings:
        streams.say(f"mpg: {warning}")
    in_use = named.id if named and chosen != DEFAULT_MODEL else chosen
    if model is not None:
        info = _find(model, found)
        report.write_one(streams, _row(info, known, in_use), as_json=format_ == "json")
        return
    if in_use not in {info.id for info in found}:
        streams.say(f"mpg: {visible(chosen, 80)}, the model in use, is not on this disk yet")
    shown = format_ or ("table" if streams.stdout_tty else "plain")
    report.write_all(streams, [_row(info, known, in_use) for info in found], shown)


def _chosen() -> str:
    """The model of commands without --model."""
    from mpg_cli.config.file import load_config

    return os.environ.get("MPG_MODEL") or str(load_config().values.get("model", DEFAULT_MODEL))


def _find(name: str, found: list[ModelInfo]) -> ModelInfo:
    from mpg_cli.models.load.catalogue import folder_model

    for info in found:
        if name == info.id:
            return info
    folder = folder_model(name)
    if folder is not None:
        return folder
    close = did_you_mean(name, [info.id for info in found])
    raise UsageError(
        f"{visible(name, 80)} is neither the bundled model, in the cache, nor a folder{close}",
        hint="a model of the hub is fetched when a command names it with --model",
    )


def _row(info: ModelInfo, registry: Registry, in_use: str) -> dict[str, Any]:
    """All that is told of a model, ready for JSON."""
    return {
        "id": info.id,
        "in_use": info.id == in_use,
        "source": info.source,
        "folder": str(info.folder),
        "revision": info.revision,
        "architecture": info.architecture,
        "dtype": info.dtype,
        "parameters": info.parameters,
        "size_bytes": info.size,
        "context": info.context,
        "problem": info.problem,
        "experts": experts_for(info, registry),
    }


def experts_for(info: ModelInfo, registry: Registry) -> dict[str, list[str]]:
    """Names of personas, composites left out, by the kind of expert that they become on the model.

    `missing` has those whose adapter or checkpoint is not where the file says, `none` those without any
    expert for the model.
    """
    from mpg_cli.personas.base import find_base
    from mpg_cli.personas.matching import fit, state

    found: dict[str, list[str]] = {
        kind: [] for kind in ("adapter", "both", "checkpoint", "prompt", "missing", "none")
    }
    base = find_base(str(info.folder)) if info.source == "folder" else find_base(info.id, info.revision)
    for persona in registry.personas:
        if persona.parts is None:
            fitted = fit(persona, base)
            gone = fitted.match is not None and state(fitted.match.entry) == "missing"
            found["missing" if gone else fitted.kind or "none"].append(persona.name)
    return found
