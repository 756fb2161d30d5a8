"""What an imported file says about a persona, before it has a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpg_cli.personas.adapter_place import AdapterPlace


@dataclass(frozen=True)
class LocalAdapter:
    """A checked LoRA adapter on disk: its two files, wherever they lie."""

    config: Path
    weights: Path


@dataclass(frozen=True)
class DraftAdapter:
    """An adapter for the model `base`: a `local` one is copied beside the persona file."""

    base: str
    found: LocalAdapter | AdapterPlace

    @property
    def local(self) -> LocalAdapter | None:
        return self.found if isinstance(self.found, LocalAdapter) else None

    def entry(self, path: str) -> dict[str, str]:
        """What a persona file says about it, where `path` is the place of a local one."""
        if isinstance(self.found, LocalAdapter):
            return {"base": self.base, "path": path}
        hub = self.found
        said = {"repo": hub.repo, "revision": hub.revision, "subfolder": hub.subfolder}
        return {"base": self.base, **{key: value for key, value in said.items() if value}}


@dataclass(frozen=True)
class Draft:
    """A persona without a place. `title` is the name as the file has it, often none that a persona can have;
    `stem` is the file's own, for a title without a letter from A to Z.

    `extensions` is plain data as it was read; `sanitized` makes it fit for a persona file. `notices` are
    sentences for the user.
    """

    title: str
    prompt: str | None
    description: str = ""
    tags: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    stem: str = ""
    adapter: DraftAdapter | None = None
    model: str | None = None  # what the next command should name with --model
    extensions: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
