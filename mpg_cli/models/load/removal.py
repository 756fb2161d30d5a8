"""Removing downloaded models from the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from mpg_cli.config.named_models import BUNDLED, SMOLLM2, SMOLLM2_REPO, smollm2_folder
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.text import did_you_mean, visible


@dataclass(frozen=True)
class Download:
    """A model that was downloaded: its name, the bytes that it takes, and the steps that delete it."""

    name: str
    size: int = 0
    steps: tuple[Callable[[], None], ...] = ()

    def plus(self, size: int, step: Callable[[], None]) -> Download:
        """With another place where the model lies."""
        return Download(self.name, self.size + size, (*self.steps, step))

    def remove(self) -> None:
        """Delete it. Raises ModelError."""
        try:
            for step in self.steps:
                step()
        except OSError as error:
            raise ModelError(f"{self.name} cannot be removed: {error.strerror or error}") from error


def downloads() -> dict[str, Download]:
    """The models that can be removed, by name: smollm2 and those in the hub's cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    found: dict[str, Download] = {}
    folder = smollm2_folder()
    if folder.is_dir():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        found[SMOLLM2] = Download(SMOLLM2).plus(size, lambda: shutil.rmtree(folder))
    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return found
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type == "model" and repo.revisions:
            name = _name(repo.repo_id)
            strategy = cache.delete_revisions(*(revision.commit_hash for revision in repo.revisions))
            size = strategy.expected_freed_size
            found[name] = found.get(name, Download(name)).plus(size, strategy.execute)
    return found


def find_download(name: str) -> Download:
    """The download of that name. Raises UsageError for what is none, or must not be removed."""
    if name == BUNDLED:
        raise UsageError(f"{BUNDLED} is part of the package and cannot be removed")
    if name != SMOLLM2 and os.path.exists(os.path.expanduser(name)):
        raise UsageError(f"{visible(name, 80)} is a file or folder of yours: mpg removes only downloads")
    known = downloads()
    if (found := known.get(_name(name))) is None:
        raise UsageError(
            f"{visible(name, 80)} is no downloaded model{did_you_mean(name, known)}",
            hint="mpg models lists the models on this disk",
        )
    return found


def _name(repo: str) -> str:
    return SMOLLM2 if repo == SMOLLM2_REPO else repo
