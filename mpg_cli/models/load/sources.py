"""Sources of models and adapters: the bundled model, a folder, the hub or its cache."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mpg_cli.config.named_models import BUNDLED, BUNDLED_FOLDER, SMOLLM2, find_smollm2
from mpg_cli.errors import AdapterError, ModelError
from mpg_cli.models.load import hub
from mpg_cli.models.load.checkpoint import CONFIG_FILE, INDEX_FILE, choose_files, is_complete, weight_files
from mpg_cli.personas import adapter_folder, adapter_shapes


def find_model(
    name: str, revision: str | None, offline: bool, *, config_only: bool = False
) -> tuple[Path, str, str | None, list[str]]:
    """Folder, id, commit and notices of the model `name`, fetched with all files or config.json alone."""
    if name == SMOLLM2:
        place = find_smollm2(revision)
        return place.path, name, place.revision, []
    folder = BUNDLED_FOLDER if name == BUNDLED else Path(os.path.expanduser(name))
    if name == BUNDLED or os.path.isdir(folder):
        if revision is not None:
            raise ModelError(f"--revision needs a model of the hub, and {name} is a folder")
        if not folder.is_dir():
            raise ModelError(f"the bundled model is missing: {folder}", hint="install mpg-cli again")
        return folder, name if name == BUNDLED else str(folder.resolve()), None, []
    if os.path.exists(folder):
        raise ModelError(f"model {name} is a file, must be a folder or a hub id")

    def choose(files: Sequence[str]) -> list[str]:
        return [CONFIG_FILE] if config_only and CONFIG_FILE in files else choose_files(name, files)

    def shards(folder: Path) -> list[str]:
        return weight_files(folder, name) if (folder / INDEX_FILE).is_file() else []

    complete, rest = (lambda folder: True, lambda folder: []) if config_only else (is_complete, shards)
    request = hub.FetchRequest("model", ModelError, CONFIG_FILE, choose, complete, rest)
    found = hub.fetch(name, revision, request, offline=offline)
    return found.folder, name, found.revision, [found.notice] if found.notice else []


def fetch_adapter(
    repo: str,
    revision: str | None = None,
    subfolder: str | None = None,
    *,
    offline: bool = False,
    notice: Callable[[str], None] = lambda message: None,
) -> Path:
    """The folder of an adapter from the hub or its cache, downloaded if necessary; never pickled weights.

    `notice` gets a message if the hub cannot be reached and the cache is used. Raises AdapterError for an
    unknown repository, one without an adapter there, an unreachable hub.
    """
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    wanted = [prefix + adapter_shapes.CONFIG_FILE, prefix + adapter_shapes.WEIGHTS_FILE]
    place = f"{repo}/{prefix}".rstrip("/")

    def instead(files: Sequence[str]) -> str:
        return f"look in {', '.join(adapter_folder.below(files)) or 'the repository itself'}"

    def cached(folder: Path) -> str | None:
        found = folder.rglob(adapter_shapes.CONFIG_FILE)
        files = [file.relative_to(folder).as_posix() for file in found if file.parent != folder / prefix]
        return f"the cache has other adapters of this repository: {instead(files)}" if files else None

    def choose(files: Sequence[str]) -> list[str]:
        below = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
        if not below and subfolder and subfolder in files:
            below = [subfolder.rpartition("/")[2]]  # it is a file
        if not below:
            raise AdapterError(f"adapter {place}: there is no such folder", hint=instead(files))
        if refused := adapter_folder.refusal(below):
            raise AdapterError(f"adapter {place} {refused[0]}", hint=refused[1])
        return wanted

    with silence():
        request = hub.FetchRequest(
            "adapter",
            AdapterError,
            wanted[0],
            choose,
            lambda folder: (folder / wanted[1]).is_file(),
            name=place + (f"@{revision}" if revision else ""),
            others=cached,
        )
        found = hub.fetch(repo, revision, request, offline=offline)
    if found.notice:
        notice(found.notice)
    return found.folder / prefix


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
