"""Imports several files in sequence and checks that their names differ."""

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
    """An imported file: its label in messages, the persona, and the value of --model for it."""

    label: str
    persona: Imported
    model: str | None

    @property
    def command(self) -> str:
        """A command line that uses the persona."""
        where = self.persona.where
        words = ["mpg", "generate", "-p", where.name, *options_to_find(where.folder, self.model)]
        return f"{shlex.join(words)} '…'"


def check_files(files: Sequence[str], options: ImportOptions) -> None:
    """Raise UsageError for options that conflict with the files."""
    if options.name is not None:
        check_name(options.name)
        if len(files) > 1:
            raise UsageError("--name needs a single file", hint="import the files one by one")
    if files.count("-") > 1:
        raise UsageError("stdin is given twice", hint="give - once")


class Importer:
    """Imports into one folder; `force` replaces existing personas."""

    def __init__(self, folder: Path, options: ImportOptions, *, force: bool) -> None:
        self.folder, self.options, self.force = folder, options, force
        self._labels: dict[str, str] = {}  # files by lower-case persona name

    def take(self, file: str, stdin: BinaryIO) -> Taken:
        """The persona of `file` (`-` for stdin), ready to be written. Raises MpgError for an invalid file."""
        label = "stdin" if file == "-" else visible(file)
        draft = read_draft(file, stdin, self.options)
        new = place.prepare(draft, self.folder, self.options.name, label)
        other = self._labels.get(new.where.name.lower())
        if other is not None:
            raise UsageError(
                f"{label}: the name {new.where.name} is already used for {other}",
                hint="import it separately with --name",
            )
        place.check_free(new, force=self.force)
        self._labels[new.where.name.lower()] = label
        return Taken(label, new, draft.model or None)
