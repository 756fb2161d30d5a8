"""What `mpg train` learns from, and what it writes about the persona. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.options import readers
from mpg_cli.options.option import option


@dataclass(frozen=True)
class DataOptions:
    """The data, and what may stand in its way."""

    data: tuple[Path, ...] = option(
        (),
        metavar="FILE",
        help="JSONL or a JSON list of pairs, as {prompt, chosen, rejected}.",
        shown="required",
    )
    strict: bool = option(False, help="Stop if any row of the data is bad.")
    force: bool = option(
        False, help="Replace the persona's adapter for this model; start an unfinished run over."
    )


@dataclass(frozen=True)
class AboutOptions:
    """What a new persona says about itself."""

    description: str | None = option(
        None, metavar="TEXT", read=readers.text("--description"), help="What the persona is like."
    )
    prompt: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--prompt"),
        help="System prompt, for models without an adapter of this persona.",
    )
    license: str | None = option(
        None, metavar="ID", read=readers.text("--license"), help="Licence of the persona, as CC0-1.0."
    )
    source: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--source"),
        help="Where it comes from.",
        shown="the data's file name",
    )
