"""Where `--adapter` says that an adapter lies: a folder here, or a repository of the hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_PART = r"[A-Za-z0-9][\w.-]*"
_HUB = re.compile(
    r"(?P<url>(?:https?://)?(?:hf\.co|huggingface\.co)/)?"
    rf"(?P<repo>{_PART}/{_PART})"
    r"(?:/tree/(?P<tree>[^/@:]+))?"
    rf"(?P<subfolder>(?:/{_PART})*)/?"
    rf"(?:@(?P<revision>{_PART}(?:/{_PART})*))?",
    re.ASCII,
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


def adapter_place(text: str) -> AdapterPlace:
    """What exists here is meant; else OWNER/NAME[/SUBFOLDER][@REVISION], or its address, is of the hub.

    Below a folder that exists, and for what is called like a file, the hub is not meant.
    """
    path = Path(os.path.expanduser(text))
    found = _HUB.fullmatch(text)
    if found is None or path.exists():
        return AdapterPlace(path)
    repo, subfolder = found["repo"], found["subfolder"].strip("/")
    here = os.path.isdir(repo) or repo.lower().endswith(_FILES)
    if here and not (found["revision"] or found["url"]):
        return AdapterPlace(path)
    return AdapterPlace(None, repo, found["revision"] or found["tree"], subfolder or None)
