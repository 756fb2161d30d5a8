"""Check that the user's files and folders exist and are writable."""

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
    """Check config file (with its `keys`), persona folders (`folders`: the search path) and caches."""
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
        yield Check(SECTION, "library", "problem", "the persona library is missing", "reinstall mpg-cli")
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
            SECTION, "config file", "problem", error.message, "repair the key with mpg config set or unset"
        )
    if not file.exists():
        return Check(SECTION, "config file", "ok", f"{file}: does not exist, defaults apply")
    return Check(SECTION, "config file", "ok", f"{file}: sets {', '.join(values) or 'nothing'}")


def _hub_cache() -> Check:
    from huggingface_hub import constants

    offline = "; offline mode is on" if constants.HF_HUB_OFFLINE else ""
    return _writable("Hugging Face cache", Path(constants.HF_HUB_CACHE), "warning", offline.lstrip("; "))


def _writable(name: str, folder: Path, otherwise: Status, more: str = "") -> Check:
    """Check that a file can be created in the folder, which may not exist yet."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    fine = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    details = [*([more] if more else []), *([] if folder.exists() else ["not created yet"])]
    if fine:
        return Check(
            SECTION, name, "ok", ": ".join([str(folder), ", ".join(details)]) if details else str(folder)
        )
    what = "is a file" if existing.is_file() else "is not writable"
    return Check(
        SECTION,
        name,
        otherwise,
        f"{folder}: {existing} {what}",
        "change its permissions, or XDG_* or HF_HOME",
    )
