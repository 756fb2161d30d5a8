"""Several files imported one after another, each name once."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.options.personas import ImportOptions
from mpg_cli.personas.importing import place
from mpg_cli.personas.importing.place import Imported
from mpg_cli.personas.importing.source import read_draft
from mpg_cli.personas.persona_file import check_name, options_to_find


@dataclass(frozen=True)
class Taken:
    """A file that was imported: what messages call it, the persona, and the model that it asks for."""

    label: str
    persona: Imported
    model: str | None

    @property
    def command(self) -> str:
        """A command that replies as the persona."""
        where = self.persona.where
        words = ["mpg", "generate", "-p", where.name, *options_to_find(where.folder, self.model)]
        return f"{shlex.join(words)} '…'"


def check_files(files: Sequence[str], options: ImportOptions) -> None:
    """Raise UsageError for files that the options do not fit."""
    if options.name is not None:
        check_name(options.name)
        if len(files) > 1:
            raise UsageError("--name names one persona", hint="import the files one by one")
    if files.count("-") > 1:
        raise UsageError("stdin is named twice", hint="give - once")


class Importer:
    """Imports into one folder; `force` replaces what is there."""

    def __init__(self, folder: Path, options: ImportOptions, *, force: bool) -> None:
        self.folder, self.options, self.force = folder, options, force
        self._labels: dict[str, str] = {}  # of the personas so far, in lower case, the files

    def take(self, file: str, stdin: BinaryIO) -> Taken:
        """The persona of `file`, `-` for stdin, ready to be written. Raises MpgError where there is none."""
        label = "stdin" if file == "-" else visible(file)
        draft = read_draft(file, stdin, self.options)
        new = place.prepare(draft, self.folder, self.options.name, label)
        other = self._labels.get(new.where.name.lower())
        if other is not None:
            raise UsageError(
                f"{label}: {other} became the persona {new.where.name} already",
                hint="import it alone, with --name",
            )
        place.check_free(new, force=self.force)
        self._labels[new.where.name.lower()] = label
        return Taken(label, new, draft.model or None)
