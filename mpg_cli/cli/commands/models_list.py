"""`mpg models list`: local models and the experts that fit each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpg_cli.cli.groups import SearchPath, with_groups
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.options.report import ListFormat

if TYPE_CHECKING:
    from mpg_cli.models.load.catalogue import LocalModels

EPILOG = """\b
Examples:
  mpg models
  mpg models list --format json | jq -r '.[].id'
\b
* marks the default of --model. An expert fits if the base in its persona file names this model (or another
copy of it) and the shapes in the files agree; only loading makes it certain. No weights are read and
nothing is downloaded."""


def local_models(streams: Streams) -> LocalModels:
    """The models on this disk; warnings go to stderr."""
    from mpg_cli.cli.option_table import sources
    from mpg_cli.config.named_models import AUTO, without_auto
    from mpg_cli.models.load import catalogue

    found = catalogue.local_models(without_auto(str(sources().value("model")[0] or AUTO)))
    for warning in found.warnings:
        streams.message(f"mpg: {warning}")
    return found


@with_groups
def list_(folders: SearchPath, form: ListFormat) -> None:
    """List the local models and the experts that fit each.

    The bundled model, smollm2, models in the Hugging Face cache, and the folder named by MPG_MODEL or the
    config file. Personas without an adapter or checkpoint for a model use their prompts.
    """
    from mpg_cli.personas import registry
    from mpg_cli.render import models as report

    streams = Streams.current()
    known = registry.load_default(folders.persona_dirs)
    found = local_models(streams)
    if found.in_use not in found.ids:
        streams.message(f"mpg: {visible(found.in_use, 80)}, the default model, is not on this disk")
    rows = [report.row(info, known, found.in_use) for info in found.models]
    report.write_all(streams, rows, form.on(streams.stdout_tty))
