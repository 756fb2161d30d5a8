"""Options of `mpg train`: the data, and the fields of the persona file. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.options import readers
from mpg_cli.options.option import option


@dataclass(frozen=True)
class DataOptions:
    """The training data, and how to treat invalid rows and existing adapters."""

    data: tuple[Path, ...] = option(
        metavar="FILE",
        help="JSONL or a JSON list of preference pairs, such as {prompt, chosen, rejected}.",
    )
    strict: bool = option(False, help="Stop if a row of the data is invalid.")
    force: bool = option(
        False, help="Replace the persona's adapter for this model; restart an unfinished run."
    )


@dataclass(frozen=True)
class AboutOptions:
    """Fields of a new persona file."""

    description: str | None = option(
        None, metavar="TEXT", read=readers.text("--description"), help="Description of the persona."
    )
    prompt: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--prompt"),
        help="System prompt for models without an adapter of this persona.",
    )
    license: str | None = option(
        None, metavar="ID", read=readers.text("--license"), help="Licence of the persona, such as CC0-1.0."
    )
    source: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--source"),
        help="Source of the persona.",
        shown="the data's file name",
    )
