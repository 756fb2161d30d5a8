"""Removing models that were downloaded or converted from the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mpg_cli.config.conversions import conversions, find_conversion
from mpg_cli.config.named_models import BUNDLED, SMOLLM2, SMOLLM2_REPO, smollm2_folder
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.text import did_you_mean, visible


@dataclass(frozen=True)
class Removable:
    """A model that can be removed: its name, the bytes that it takes, and the steps that delete it."""

    name: str
    size: int = 0
    steps: tuple[Callable[[], object], ...] = ()

    def remove(self) -> None:
        """Delete it. Raises ModelError."""
        try:
            for step in self.steps:
                step()
        except OSError as error:
            raise ModelError(f"{self.name} cannot be removed: {error.strerror or error}") from error


def removable() -> dict[str, Removable]:
    """The models that can be removed, by name: smollm2, conversions of GGUF files, the hub's cache."""
    found: dict[str, Removable] = {}
    for name, size, step in _parts():
        before = found.get(name, Removable(name))
        found[name] = Removable(name, before.size + size, (*before.steps, step))
    return found


def find_removable(name: str) -> Removable:
    """The model of that name. Raises UsageError for one that is not here, or must not be removed."""
    if name == BUNDLED:
        raise UsageError(f"{BUNDLED} is part of the package and cannot be removed")
    known = removable()
    conversion = find_conversion(name)  # of a file under another path
    for one in (_name(name), conversion.id if conversion else ""):
        if one in known:
            return known[one]
    if os.path.exists(os.path.expanduser(name)):
        raise UsageError(
            f"{visible(name, 80)} is yours: mpg removes only what it or the hub's client put there"
        )
    raise UsageError(
        f"{visible(name, 80)} is no downloaded model{did_you_mean(name, known)}",
        hint="mpg models lists the models on this disk",
    )


def _parts() -> Iterator[tuple[str, int, Callable[[], object]]]:
    """Each folder or repository that can be removed: the model that it is part of, its size, how."""
    if (folder := smollm2_folder()).is_dir():
        yield SMOLLM2, _size(folder), partial(_remove, folder)
    for one in conversions():
        yield one.id, _size(one.folder), partial(_remove, one.folder)
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type == "model" and repo.revisions:
            strategy = cache.delete_revisions(*(revision.commit_hash for revision in repo.revisions))
            yield _name(repo.repo_id), strategy.expected_freed_size, strategy.execute


def _name(repo: str) -> str:
    return SMOLLM2 if repo == SMOLLM2_REPO else repo


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except FileNotFoundError:  # another process removes it
        return 0


def _remove(folder: Path) -> None:
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):  # another process removes it too
            shutil.rmtree(folder)
