"""The manifest beside the adapters of one model: how `mpg train --library` made each of them.

It says which adapters are done, and holds all that another machine needs to make them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mpg_cli import __version__
from mpg_cli.errors import UsageError
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_shapes import WEIGHTS_FILE
from mpg_cli.training.settings import difference

NAME = "manifest.json"
_PACKAGES = ("torch", "transformers", "peft", "trl")


class Manifest:
    """The entries of a manifest by persona; each change is written at once."""

    def __init__(self, file: Path, base: str, entries: Mapping[str, dict[str, Any]]) -> None:
        self.file, self._base = file, base
        self._entries = dict(entries)

    @classmethod
    def read(cls, folder: Path, base: str) -> Manifest:
        """The manifest of a folder, or a new one. Raises UsageError for a damaged file."""
        file = folder / NAME
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            entries = data["personas"]
            for entry in entries.values():
                _ = entry["plan"].items(), entry["weights"], entry["base_digest"]
        except FileNotFoundError:
            entries = {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise UsageError(
                f"{visible(str(file))} is not a manifest of mpg train",
                hint="move it away; its adapters are then trained again with --force",
            ) from None
        return cls(file, base, entries)

    def entry(self, name: str) -> dict[str, Any] | None:
        """How the adapter of a persona was made, and what came out."""
        return self._entries.get(name)

    def is_done(self, name: str, plan: Mapping[str, Any], base_digest: str | None, adapter: Path) -> bool:
        """Whether this adapter is there as it was made for this plan and base."""
        entry = self._entries.get(name)
        return (
            entry is not None
            and difference(entry["plan"], plan) is None
            and entry["base_digest"] == base_digest
            and entry["weights"] == digest_of(adapter)
        )

    def record(self, name: str, entry: Mapping[str, Any]) -> None:
        """Write the entry of a persona, beside those of the others. Raises UsageError.

        What another run has written meanwhile is kept.
        """
        self._entries = Manifest.read(self.file.parent, self._base)._entries | {name: dict(entry)}
        data = {
            "what": "how mpg train --library made the adapters of this folder",
            "base": self._base,
            "personas": {name: self._entries[name] for name in sorted(self._entries)},
        }
        write_atomic(self.file, json.dumps(data, indent=1, ensure_ascii=False) + "\n", make_folder=True)


def digest_of(adapter: Path) -> str | None:
    """BLAKE2b of the weights of an adapter; None if there are none."""
    try:
        with (adapter / WEIGHTS_FILE).open("rb") as file:
            digest = hashlib.blake2b(digest_size=16)
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers of an adapter depend on."""
    return {"mpg": __version__, **{name: version(name) for name in _PACKAGES}}
