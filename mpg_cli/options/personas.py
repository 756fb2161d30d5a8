"""Options of new and imported persona files. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.paths import persona_dir as user_personas
from mpg_cli.errors import UsageError
from mpg_cli.io.text import HARMFUL
from mpg_cli.options.option import option

_MAX_USER_NAME = 100  # characters


@dataclass(frozen=True)
class PlaceOptions:
    """The folder for persona files, and whether to replace an existing one."""

    persona_dir: Path | None = option(
        None,
        metavar="DIR",
        help="Folder to write persona files to.",
        shown="the user's persona folder",
    )
    force: bool = option(False, help="Replace an existing persona, or hide one in another folder.")

    @property
    def folder(self) -> Path:
        """The folder, with ~ expanded."""
        return self.persona_dir.expanduser() if self.persona_dir else user_personas()


@dataclass(frozen=True)
class NewOptions:
    """The contents of a new persona file."""

    prompt: str | None = option(
        None, metavar="TEXT", help="System prompt of the persona.", shown="a placeholder"
    )
    parts: str | None = option(
        None,
        metavar="EXPR",
        help="A composite of other personas: NAME[:WEIGHT] + ….",
        complete="expression",
    )
    adapter: str | None = option(
        None, metavar="PATH|REPO", help="LoRA adapter: a PEFT folder, FILE.gguf or OWNER/NAME."
    )
    base: str | None = option(
        None,
        metavar="ID",
        help="Base model of the adapter.",
        shown="the base in the adapter's configuration",
        complete="model",
    )
    description: str | None = option(None, metavar="TEXT", help="Description of the persona.")


def _user(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _MAX_USER_NAME or HARMFUL.search(name) or "\n" in name:
        raise UsageError(f"--user must be one line of at most {_MAX_USER_NAME} printable characters")
    return name


@dataclass(frozen=True)
class ImportOptions:
    """Options of `mpg personas import`."""

    name: str | None = option(
        None, metavar="NAME", help="Name of the persona.", shown="derived from the file"
    )
    user: str | None = option(
        None,
        metavar="NAME",
        read=_user,
        help="Value of {{user}} in a card: the name of the person who talks to the persona.",
        shown="the card's own, or User",
    )
    base: str | None = option(
        None, metavar="ID|PATH|ollama:NAME", help="Base model of a Modelfile's adapter.", shown="FROM"
    )
