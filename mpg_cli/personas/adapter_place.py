"""Locations of adapters: a path here or a hub repository; the syntax of repository ids. Torch-free."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mpg_cli.io.gguf_header import SUFFIX
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REPOSITORY = rf"{_PART}/{_PART}"
_ADDRESS = r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)"
_ID = re.compile(rf"(?:{_PART}/)?{_PART}")
_NAMED = re.compile(rf"{_ADDRESS}?(?P<id>{_REPOSITORY})/?")
# In the URL of a hub page, tree, blob or resolve precede the revision.
_HUB = re.compile(
    rf"(?P<url>{_ADDRESS})?(?P<repo>{_REPOSITORY})"
    rf"(?:/(?:tree|blob|resolve)/(?P<shown>refs(?:/|%2F){_PART}(?:/|%2F){_PART}|[^/@:?#]+))?"
    rf"(?P<subfolder>(?:/{_PART})*)/?(?::(?P<file>{_PART}(?:/{_PART})*\.gguf))?"
    rf"(?:@(?P<revision>{_PART}(?:/{_PART})*))?(?(url)(?:[?#].*)?)",
    re.ASCII | re.IGNORECASE,
)
_FILES = (
    ".safetensors",
    SUFFIX,
    ".bin",
    ".pt",
    ".pth",
    ".zip",
    ".json",
    ".npz",
)  # suffixes that no repository has


@dataclass(frozen=True)
class AdapterPlace:
    """Either `path`, which may not exist, or `repo` on the hub with its revision and subfolder.

    A path or a subfolder that ends in .gguf is a file.
    """

    path: Path | None = None
    repo: str = ""
    revision: str | None = None
    subfolder: str | None = None

    @property
    def name(self) -> str:
        """The name of the expert: the last part of the location."""
        last = self.path.resolve().name if self.path is not None else (self.subfolder or self.repo)
        last = last.rpartition("/")[2]
        return last[: -len(SUFFIX)] if is_gguf_file(last) else last

    @property
    def identity(self) -> str:
        """An id that is equal for all spellings of a place."""
        return os.path.realpath(self.path) if self.path is not None else str(self)

    @property
    def saved(self) -> str:
        """Text that `adapter_place` reads back as the same location, never a folder as a repository."""
        text = str(self)
        return f"./{text}" if self.path is not None and _HUB.fullmatch(text) else text

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        mark = ":" if is_gguf_file(self.subfolder or "") else "/"
        subfolder = f"{mark}{self.subfolder}" if self.subfolder else ""
        return f"{self.repo}{subfolder}" + (f"@{self.revision}" if self.revision else "")


def adapter_place(text: str, folder: Path | None = None) -> AdapterPlace:
    """The location that `text` names: an existing path (relative to `folder`), else a repository on the hub.

    A repository is OWNER/NAME[/SUBFOLDER][@REVISION], OWNER/NAME:FILE.gguf[@REVISION] or the URL of one of
    its pages. Text that begins with an existing folder or ends in a file's suffix is a path in any case.
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
    subfolder = "/".join(part for part in (subfolder, found["file"]) if part)
    revision = found["revision"] or (unquote(found["shown"]) if found["shown"] else None)
    return AdapterPlace(None, repo, revision, subfolder or None)


def is_gguf_file(name: str) -> bool:
    """Whether the name of a path is that of a GGUF file."""
    return name.lower().endswith(SUFFIX)


def hub_address(text: str) -> str | None:
    """The unambiguous hub address of text that could also be a folder; None if it is not a repository."""
    found = _HUB.fullmatch(text)
    return None if found is None or found["url"] or ".." in text else f"hf.co/{text}"


def is_repository(text: str) -> bool:
    """Whether the text can be a repository id: OWNER/NAME, or NAME as of the oldest repositories."""
    return _ID.fullmatch(text) is not None and ".." not in text


def repository(text: str) -> str | None:
    """OWNER/NAME from an id or an address of the hub; None for anything else."""
    found = _NAMED.fullmatch(text)
    return found["id"] if found and ".." not in text else None
