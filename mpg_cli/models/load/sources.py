"""Sources of models and adapters: the bundled model, a folder or GGUF file, Ollama, the hub or its cache."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.named_models import BUNDLED, BUNDLED_FOLDER, NAMES, SMOLLM2, find_smollm2
from mpg_cli.errors import AdapterError, ModelError
from mpg_cli.io import gguf_header
from mpg_cli.io.gguf_header import SUFFIX, gguf_files, is_gguf, with_own_name
from mpg_cli.io.text import visible
from mpg_cli.models.load import checkpoint, hub, ollama
from mpg_cli.models.load.checkpoint import CONFIG_FILE, INDEX_FILE, choose_files, is_complete, weight_files
from mpg_cli.personas import adapter_folder, adapter_shapes
from mpg_cli.personas.adapter_place import AdapterPlace, is_gguf_file, is_repository

_FILE_OF_REPO = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<file>[^:]+)")
_LISTED = 12  # files in a message


@dataclass(frozen=True)
class FoundModel:
    """A model on this disk: `path` is its folder or its GGUF file.

    `revision` is its commit on the hub, or the digest of a model of Ollama.
    """

    path: Path
    id: str
    revision: str | None = None
    notices: tuple[str, ...] = ()

    @contextlib.contextmanager
    def remedied(self) -> Iterator[None]:
        """Errors for damaged files say how to fetch them again, where they were fetched."""
        try:
            yield
        except ModelError as error:
            if error.hint in (checkpoint.AGAIN, gguf_header.AGAIN) and self.revision is not None:
                get = f"mpg models remove {self.id.partition(':')[0]}, then mpg models get {self.id}"
                error.hint = ollama.again(self.id) if ollama.is_ollama(self.id) else get
            raise


def find_model(
    name: str, revision: str | None = None, offline: bool = False, *, config_only: bool = False
) -> FoundModel:
    """The model `name`, fetched with all files or, unless it is a GGUF file, config.json alone.

    A name is that of the bundled model or smollm2, a folder, a GGUF file or the folder of one, `ollama:NAME`,
    a hub id or `OWNER/NAME:FILE.gguf`. Raises ModelError where there is no such model.
    """
    if name == SMOLLM2:
        place = find_smollm2(revision)
        return FoundModel(place.path, name, place.revision)
    found = _local(name)
    if found is not None:
        if revision is not None:
            raise ModelError(f"--revision needs a model of the hub, and {name} is on this disk")
        return found
    if file := _FILE_OF_REPO.fullmatch(name):
        return _fetch_file(file["repo"], file["file"], revision, offline)

    def choose(files: Sequence[str]) -> list[str]:
        return [CONFIG_FILE] if config_only and CONFIG_FILE in files else choose_files(name, files)

    def shards(folder: Path) -> list[str]:
        return weight_files(folder, name) if (folder / INDEX_FILE).is_file() else []

    complete, rest = (lambda folder: True, lambda folder: []) if config_only else (is_complete, shards)
    request = hub.FetchRequest("model", ModelError, CONFIG_FILE, choose, complete, rest)
    snapshot = hub.fetch(name, revision, request, offline=offline)
    return FoundModel(snapshot.folder, name, snapshot.revision, tuple(filter(None, [snapshot.notice])))


def _local(name: str) -> FoundModel | None:
    """The model, if the name is not one of the hub."""
    if name == BUNDLED:
        if not BUNDLED_FOLDER.is_dir():
            raise ModelError(f"the bundled model is missing: {BUNDLED_FOLDER}", hint="install mpg-cli again")
        return FoundModel(BUNDLED_FOLDER, name)
    if ollama.is_ollama(name):
        blob = ollama.find_blob(name)
        return FoundModel(blob.path, blob.id, blob.digest, blob.notices)
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):  # unlike Path.is_dir it accepts names that are too long
        files = gguf_files(path)
        if len(files) > 1:
            raise ModelError(
                f"folder {name} has {len(files)} GGUF files and no {CONFIG_FILE}",
                hint=f"give one of them: {_some([file.name for file in files])}",
            )
        if not files:
            return FoundModel(path, str(path.resolve()))
        path = files[0]
    if os.path.exists(path):
        if not path.is_file():
            raise ModelError(f"model {name} is neither a file nor a folder")
        if path.suffix.lower() != SUFFIX and not is_gguf(path):
            raise ModelError(f"model {name} is a file, must be a folder, a GGUF file or a hub id")
        path = with_own_name(path)
        return FoundModel(path, str(path))
    if path.suffix.lower() == SUFFIX and not _FILE_OF_REPO.fullmatch(name):
        raise ModelError(
            f"there is no file {visible(name, 200)}",
            hint="a GGUF file of the hub is given as OWNER/NAME:FILE.gguf",
        )
    if name not in NAMES and (known := name.strip().lower()) in NAMES:
        raise ModelError(f"there is no model {visible(name, 80)!r}; did you mean {known}?")
    return None


def _fetch_file(repo: str, file: str, revision: str | None, offline: bool) -> FoundModel:
    """One GGUF file of a repository."""
    name = f"{repo}:{file}"
    if "\\" in file or {"", ".", ".."} & set(file.split("/")):
        raise ModelError(f"model {visible(name, 200)}: the file must be a path inside the repository")

    def choose(files: Sequence[str]) -> list[str]:
        if file in files and file.lower().endswith(SUFFIX):
            return [file]
        there = [one for one in files if one.lower().endswith(SUFFIX)]
        close = [one for one in there if file.lower() in one.lower()] or there
        hint = f"choose one of {_some(close)}" if there else "it has no GGUF files at all"
        raise ModelError(f"model {repo} has no GGUF file {visible(file, 80)}", hint=hint)

    request = hub.FetchRequest(
        "model", ModelError, file, choose, lambda folder: (folder / file).is_file(), name=name
    )
    snapshot = hub.fetch(repo, revision, request, offline=offline)
    notices = tuple(filter(None, [snapshot.notice]))
    return FoundModel(snapshot.folder / file, name, snapshot.revision, notices)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(visible(name, 80) for name in names[:_LISTED]) + more


def fetch_adapter(
    repo: str,
    revision: str | None = None,
    subfolder: str | None = None,
    *,
    offline: bool = False,
    notice: Callable[[str], None] = lambda message: None,
) -> Path:
    """The folder or GGUF file of an adapter from the hub or its cache; never pickled weights.

    A `subfolder` that ends in .gguf is a file. `notice` gets a message if the hub cannot be reached and the
    cache is used. Raises AdapterError for an unknown repository, one without an adapter there, an unreachable
    hub.
    """
    inside = subfolder.strip("/") if subfolder else ""
    prefix = f"{inside}/" if inside and not is_gguf_file(inside) else ""
    place = str(AdapterPlace(None, repo, revision, inside or None))

    def instead(files: Sequence[str]) -> str:
        found = [*adapter_folder.below(files), *sorted(filter(is_gguf_file, files))[: adapter_folder.LISTED]]
        return f"look in {', '.join(found) or 'the repository itself'}"

    def cached(folder: Path) -> str | None:
        found = [*folder.rglob(adapter_shapes.CONFIG_FILE), *folder.rglob("*.gguf")]
        files = [file.relative_to(folder).as_posix() for file in found if file.parent != folder / prefix]
        return f"the cache has other adapters of this repository: {instead(files)}" if files else None

    def choose(files: Sequence[str]) -> list[str]:
        if is_gguf_file(inside):
            if inside not in files:
                raise AdapterError(f"adapter {place}: there is no such file", hint=instead(files))
            return [inside]
        below = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
        if not below and inside in files:
            below = [inside.rpartition("/")[2]]  # it is a file
        if not below:
            raise AdapterError(f"adapter {place}: there is no such folder", hint=instead(files))
        if refused := adapter_folder.refusal(below):
            raise AdapterError(f"adapter {place} {refused[0]}", hint=refused[1])
        return [prefix + name for name in adapter_folder.adapter_files(below) or ()]

    with silence():
        wanted = [inside] if is_gguf_file(inside) else _cached_names(repo, revision, prefix)
        request = hub.FetchRequest(
            "adapter",
            AdapterError,
            wanted[0],
            choose,
            lambda folder: all((folder / name).is_file() for name in wanted),
            name=place,
            others=cached,
        )
        found = hub.fetch(repo, revision, request, offline=offline)
    if found.notice:
        notice(found.notice)
    return found.folder / inside


def _cached_names(repo: str, revision: str | None, prefix: str) -> list[str]:
    """The files of an adapter as the cache has them, by default PEFT's two."""
    folder = hub.cached_folder(repo, revision) if is_repository(repo) else None
    kept = folder / prefix if folder is not None else None
    here = [file.name for file in kept.iterdir()] if kept is not None and kept.is_dir() else []
    names = adapter_folder.adapter_files(here) or [adapter_shapes.CONFIG_FILE, adapter_shapes.WEIGHTS_FILE]
    return [prefix + name for name in names]


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress progress bars, warnings and log messages of the libraries, which break a live display.

    Log messages and progress bars stay off afterwards: the first passes of a model log as well.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
