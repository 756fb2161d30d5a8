"""Where `--adapter` says that an adapter lies: a folder here, or a repository of the hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.hub_id import ADDRESS, PART, REPOSITORY

# A page of the hub says with tree, blob or resolve which revision of which file or folder it shows.
_HUB = re.compile(
    rf"(?P<url>{ADDRESS})?(?P<repo>{REPOSITORY})"
    rf"(?:/(?:tree|blob|resolve)/(?P<shown>refs(?:/|%2F){PART}(?:/|%2F){PART}|[^/@:?#]+))?"
    rf"(?P<subfolder>(?:/{PART})*)/?"
    rf"(?:@(?P<revision>{PART}(?:/{PART})*))?(?(url)(?:[?#].*)?)",
    re.ASCII | re.IGNORECASE,
)
_FILES = (
    ".safetensors",
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".zip",
    ".json",
    ".npz",
)  # no repository is called so


@dataclass(frozen=True)
class AdapterPlace:
    """Either `path`, a folder that need not exist, or `repo` of the hub with what was said about it."""

    path: Path | None = None
    repo: str = ""
    revision: str | None = None
    subfolder: str | None = None

    @property
    def name(self) -> str:
        """What the expert is called: the last part of the place."""
        if self.path is not None:
            return self.path.resolve().name
        return (self.subfolder or self.repo).rpartition("/")[2]

    @property
    def identity(self) -> str:
        """The same for every spelling of a folder."""
        return os.path.realpath(self.path) if self.path is not None else str(self)

    @property
    def saved(self) -> str:
        """What means the same place when it is read again: a folder is never taken for a repository."""
        text = str(self)
        return f"./{text}" if self.path is not None and _HUB.fullmatch(text) else text

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        subfolder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{self.repo}{subfolder}" + (f"@{self.revision}" if self.revision else "")


def adapter_place(text: str, folder: Path | None = None) -> AdapterPlace:
    """What exists, here or in `folder`, is meant; else OWNER/NAME[/SUBFOLDER][@REVISION] is of the hub.

    So is the address of any of its pages. Below a folder that exists, and for what is called like a file, the
    hub is not meant.
    """
    here = folder or Path()
    if not os.path.exists(path := here / os.path.expanduser(text)):
        path = here / os.path.expanduser(text := text.strip())
    found = _HUB.fullmatch(text)
    if found is None or ".." in found["repo"] or os.path.exists(path):
        return AdapterPlace(path)
    repo, subfolder = found["repo"], found["subfolder"].strip("/")
    local = os.path.isdir(here / repo.partition("/")[0]) or repo.lower().endswith(_FILES)
    if local and not (found["revision"] or found["url"]):
        return AdapterPlace(path)
    parent, _, file = subfolder.rpartition("/")
    if file in (CONFIG_FILE, WEIGHTS_FILE):
        subfolder = parent
    revision = found["revision"] or (unquote(found["shown"]) if found["shown"] else None)
    return AdapterPlace(None, repo, revision, subfolder or None)


def hub_address(text: str) -> str | None:
    """How to say that the hub is meant with what could be a folder; None for what it cannot have."""
    found = _HUB.fullmatch(text)
    return None if found is None or found["url"] or ".." in text else f"hf.co/{text}"
