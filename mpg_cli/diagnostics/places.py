"""The user's files and folders: are they there, and can they be written?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpg_cli.config import file as config
from mpg_cli.config.key import Keys
from mpg_cli.config.paths import cache_dir, config_file, persona_dir, state_dir
from mpg_cli.diagnostics.check import Check, Status
from mpg_cli.errors import UsageError
from mpg_cli.personas import registry

SECTION = "files"


def look(folders: Sequence[Path], keys: Keys) -> Iterator[Check]:
    """Config file, persona folders (`folders` is the search path), caches; `keys` are those of the file."""
    yield _config_file(keys)
    yield _writable("personas of your own", persona_dir(), "warning")
    for folder in folders:
        if folder != persona_dir() and folder.is_dir():
            count = sum(1 for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
            yield Check(SECTION, "persona folder", "ok", f"{os.path.abspath(folder)}: {count} files")
    for entry in os.environ.get("MPG_PERSONA_PATH", "").split(os.pathsep):
        if entry and not os.path.isdir(os.path.expanduser(entry)):
            yield Check(
                SECTION, "MPG_PERSONA_PATH", "warning", f"{entry}: no such folder", "correct the path"
            )
    if registry.library_dir() is None:
        yield Check(SECTION, "library", "problem", "the persona library is missing", "install mpg-cli again")
    profiles = cache_dir() / "profiles"
    count = len(list(profiles.glob("*.json"))) if profiles.is_dir() else 0
    yield _writable("profiles of mpg tune", profiles, "warning", f"{count} profiles")
    yield _writable("history of mpg chat", state_dir(), "warning")
    yield _hub_cache()


def _config_file(keys: Keys) -> Check:
    file = config_file()
    try:
        values = config.load_config(keys).values
    except UsageError as error:
        return Check(
            SECTION, "config file", "problem", error.message, "mpg config set or unset repairs a key"
        )
    if not file.exists():
        return Check(SECTION, "config file", "ok", f"{file}: not there, defaults count")
    return Check(SECTION, "config file", "ok", f"{file}: sets {', '.join(values) or 'nothing'}")


def _hub_cache() -> Check:
    from huggingface_hub import constants

    offline = "; offline mode is on" if constants.HF_HUB_OFFLINE else ""
    return _writable("Hugging Face cache", Path(constants.HF_HUB_CACHE), "warning", offline.lstrip("; "))


def _writable(name: str, folder: Path, otherwise: Status, more: str = "") -> Check:
    """Whether a file can be made there, the folder itself included if it is missing."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    fine = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    said = [str(folder), *([more] if more else []), *([] if folder.exists() else ["not there yet"])]
    if fine:
        return Check(SECTION, name, "ok", ": ".join([said[0], ", ".join(said[1:])]) if said[1:] else said[0])
    what = "is a file" if place.is_file() else "cannot be written"
    return Check(
        SECTION, name, otherwise, f"{folder}: {place} {what}", "change its permissions, or XDG_* or HF_HOME"
    )
