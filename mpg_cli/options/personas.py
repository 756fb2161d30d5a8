"""Where `mpg personas` writes, and what the user says of a new or an imported persona. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.paths import persona_dir as user_personas
from mpg_cli.errors import UsageError
from mpg_cli.io.text import HARMFUL
from mpg_cli.options.option import option

_LONGEST_USER = 100  # letters


@dataclass(frozen=True)
class PlaceOptions:
    """Where persona files are written."""

    persona_dir: Path | None = option(
        None,
        metavar="DIR",
        help="Folder that gets the persona file.",
        shown="the user's persona folder",
    )
    force: bool = option(False, help="Replace a persona, or hide one of another folder.")

    @property
    def folder(self) -> Path:
        """The folder, the home folder written out."""
        return self.persona_dir.expanduser() if self.persona_dir else user_personas()


@dataclass(frozen=True)
class NewOptions:
    """What a new persona is to be."""

    prompt: str | None = option(
        None, metavar="TEXT", help="System prompt of the persona.", shown="one to be rewritten"
    )
    parts: str | None = option(
        None,
        metavar="EXPR",
        help="A composite of other personas: NAME[:WEIGHT] + ….",
        complete="expression",
    )
    adapter: str | None = option(None, metavar="PATH|REPO", help="LoRA adapter: a PEFT folder or OWNER/NAME.")
    base: str | None = option(
        None,
        metavar="ID",
        help="The model that the adapter is for.",
        shown="what the adapter says",
        complete="model",
    )
    description: str | None = option(None, metavar="TEXT", help="What the persona is like.")


def _user(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _LONGEST_USER or HARMFUL.search(name) or "\n" in name:
        raise UsageError(f"--user needs a name of one line, at most {_LONGEST_USER} characters")
    return name


@dataclass(frozen=True)
class ImportOptions:
    """What the user says beside the file to import."""

    name: str | None = option(None, metavar="NAME", help="Name of the persona.", shown="made from the file's")
    user: str | None = option(
        None,
        metavar="NAME",
        read=_user,
        help="What a card's {{user}} becomes: who talks to the persona.",
        shown="User, or what the card says",
    )
    base: str | None = option(
        None, metavar="ID|DIR", help="The model that a Modelfile's adapter is for.", shown="FROM"
    )
