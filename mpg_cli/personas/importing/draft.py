"""An imported persona before it has a name and a destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpg_cli.personas.adapter_place import AdapterPlace


@dataclass(frozen=True)
class LocalAdapter:
    """A checked LoRA adapter on disk: its two files, or one in GGUF (`config` is None)."""

    weights: Path
    config: Path | None = None


@dataclass(frozen=True)
class DraftAdapter:
    """An adapter for the model `base`: a `local` one is copied beside the persona file."""

    base: str
    found: LocalAdapter | AdapterPlace

    @property
    def local(self) -> LocalAdapter | None:
        return self.found if isinstance(self.found, LocalAdapter) else None

    def entry(self, path: str) -> dict[str, str]:
        """The entry of the persona file; `path` is the location of a local adapter."""
        if isinstance(self.found, LocalAdapter):
            return {"base": self.base, "path": path}
        hub = self.found
        fields = {"repo": hub.repo, "revision": hub.revision, "subfolder": hub.subfolder}
        return {"base": self.base, **{key: value for key, value in fields.items() if value}}


@dataclass(frozen=True)
class Draft:
    """An imported persona.

    `title` is the name in the file, often not a valid persona name; `stem` is the file's name, used for a
    title without Latin letters. `extensions` is unmodified plain data, to be passed through `sanitized`.
    `notices` are messages for the user.
    """

    title: str
    prompt: str | None
    description: str = ""
    tags: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    stem: str = ""
    adapter: DraftAdapter | None = None
    model: str | None = None  # the value of --model for the persona
    extensions: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
