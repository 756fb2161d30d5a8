"""Several files imported one after another, each name once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.options.personas import ImportOptions
from mpg_cli.personas.importing import place
from mpg_cli.personas.importing.place import Imported
from mpg_cli.personas.importing.source import read_draft


@dataclass(frozen=True)
class Taken:
    """A file that was imported: what messages call it, the persona, and the model that it asks for."""

    label: str
    persona: Imported
    model: str | None


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
