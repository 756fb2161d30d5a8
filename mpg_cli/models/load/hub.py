"""Fetching files of a repository from the Hugging Face hub, or from its cache.

A first short request lists the files of the repository, so that an unreachable hub and an unknown model are
reported within five seconds; huggingface_hub retries for much longer. Files are downloaded by exact
name only, never pickled weights.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.errors import MpgError, brief
from mpg_cli.io.text import visible
from mpg_cli.personas.model_name import is_commit

PROBE_SECONDS = 4.0  # for the whole request, name resolution included
REQUEST_SECONDS = 3.0  # for each of its steps
_NO_FOLDER = "if you meant a folder, it does not exist"


@dataclass(frozen=True)
class Snapshot:
    """Files of a repository on disk, their commit, and a notice for the user."""

    folder: Path
    revision: str
    notice: str | None = None


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch from a repository.

    `choose` picks from the file names (or raises), `key` is the file whose presence in the cache means that
    the repository was fetched before, `complete` checks a cached folder. `rest` lists further files once the
    chosen ones are on disk, `name` is the name in messages (None: the repository), `others` a hint about what
    a cached folder has instead.
    """

    what: str  # "model" or "adapter", for messages
    error: type[MpgError]
    key: str
    choose: Callable[[Sequence[str]], list[str]]
    complete: Callable[[Path], bool]
    rest: Callable[[Path], list[str]] = lambda folder: []
    name: str | None = None
    others: Callable[[Path], str | None] = lambda folder: None


def fetch(repo: str, revision: str | None, wanted: FetchRequest, *, offline: bool = False) -> Snapshot:
    """Make the requested files of `repo` at `revision` (branch, tag or commit) available on disk.

    A commit that is complete in the cache is used without a request, any complete cached copy with `offline`
    or when the hub cannot be reached. Raises `wanted.error` for an unknown repository or
    revision, denied access, an unreachable hub, a failed download.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    fail = wanted.error
    name = wanted.name or repo
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise fail(
            f"there is no folder {visible(repo, 200)}, and it is no valid id of a {wanted.what} on the hub",
            hint="give an existing folder, or owner/name",
        ) from None
    cached = _cached(repo, revision, wanted.key)
    if cached is not None and not wanted.complete(cached.folder):
        cached = None
    if cached is not None and is_commit(revision):
        return cached
    if offline or constants.HF_HUB_OFFLINE:
        if cached is None:
            raise fail(
                f"{wanted.what} {name} is not in the cache, and offline mode is on",
                hint=_in_cache(repo, revision, wanted)
                or f"fetch it once with offline mode (HF_HUB_OFFLINE) off; {_NO_FOLDER}",
            ) from Unreachable("offline mode")
        return cached
    try:
        files = _list_files(repo, revision, wanted)
    except Unreachable as error:
        if cached is None:
            raise fail(
                f"cannot reach the hub at {constants.ENDPOINT} for {wanted.what} {name} ({error})",
                hint=_in_cache(repo, revision, wanted)
                or f"check the network or HF_ENDPOINT; {_NO_FOLDER}"
                + ("; the bundled mpg-tiny needs no network" if wanted.what == "model" else ""),
            ) from error
        return Snapshot(cached.folder, cached.revision, f"hub not reachable, {name} is taken from the cache")
    found = _download(repo, revision, wanted, wanted.choose(files))
    rest = wanted.rest(found.folder)
    if lacking := sorted(set(rest) - set(files)):
        raise fail(
            f"{wanted.what} {repo} is incomplete: its files refer to {lacking[0]}, which is missing",
            hint="choose another revision or a copy",
        )
    return _download(repo, found.revision, wanted, rest) if rest else found


class Unreachable(Exception):
    """The hub gave no usable answer, for the reason in the text; the cause of the error that says so."""


def _cached(repo: str, revision: str | None, key: str) -> Snapshot | None:
    """The snapshot in the cache, if it has the key file."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, key, revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parents[key.count("/")]
    return Snapshot(folder, folder.name)


def _in_cache(repo: str, revision: str | None, wanted: FetchRequest) -> str | None:
    """A hint about other files of the repository in the cache."""
    folder = cached_folder(repo, revision)
    return wanted.others(folder) if folder is not None else None


def cached_folder(repo: str, revision: str | None) -> Path | None:
    """The folder of the repository in the cache, with the files that were fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def _list_files(repo: str, revision: str | None, wanted: FetchRequest) -> list[str]:
    """File names of the repository; requested in a thread, as name resolution has no timeout."""
    from huggingface_hub import HfApi, constants

    outcome: list[Any] = []

    def ask() -> None:
        try:
            api = HfApi(endpoint=constants.ENDPOINT)
            info = api.model_info(repo, revision=revision, timeout=REQUEST_SECONDS)
            outcome.append([file.rfilename for file in info.siblings or ()])
        except Exception as error:  # handled below, in the thread of the caller
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if not outcome:
        raise Unreachable("no answer")
    answer = outcome[0]
    if isinstance(answer, list):
        return [str(name) for name in answer]
    raise _error_for(answer, repo, revision, wanted) or Unreachable(brief(answer))


def _error_for(error: Exception, repo: str, revision: str | None, wanted: FetchRequest) -> MpgError | None:
    """The error for an answer of the hub; None if it is not about the repository."""
    from huggingface_hub import errors

    login = "log in with `hf auth login` or set HF_TOKEN"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or (status == 403):
        return wanted.error(
            f"{wanted.what} {repo} is gated: its owner grants access on request",
            hint=f"request access on its page, then {login}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return wanted.error(f"{wanted.what} {repo} has no revision {revision!r}", hint="check the revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return wanted.error(
            f"unknown {wanted.what} {repo}: neither a folder here nor a repository of the hub",
            hint=f"check the spelling; if it is private, {login}",
        )
    if status == 401:
        return wanted.error(f"the hub rejects the access token, {wanted.what} {repo}", hint=login)
    return None


def _download(repo: str, revision: str | None, wanted: FetchRequest, files: list[str]) -> Snapshot:
    """Download the files, with progress on stderr if that is a terminal."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty():
        enable_progress_bars()
    else:
        disable_progress_bars()
    try:
        folder = Path(
            snapshot_download(repo, revision=revision, allow_patterns=files, endpoint=constants.ENDPOINT)
        )
    except Exception as error:
        raise _error_for(error, repo, revision, wanted) or wanted.error(
            f"the download of {wanted.what} {repo} failed: {brief(error)}",
            hint="try again: it resumes where it stopped",
        ) from error
    finally:
        disable_progress_bars()
    return Snapshot(folder, folder.name)
