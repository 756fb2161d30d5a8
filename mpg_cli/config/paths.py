"""The package's data folder, the user's folders (XDG), and the config file's place in them."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"  # what the package brings along


def config_dir() -> Path:
    """`$XDG_CONFIG_HOME/mpg`, by default `~/.config/mpg`."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/mpg`, by default `~/.cache/mpg`."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """`$XDG_STATE_HOME/mpg`, by default `~/.local/state/mpg`."""
    return _xdg("XDG_STATE_HOME", os.path.join(".local", "state"))


def persona_dir() -> Path:
    """The user's own personas."""
    return config_dir() / "personas"


def config_file() -> Path:
    """Where the config file is, if there is one."""
    return config_dir() / "config.yaml"


def _xdg(variable: str, default: str) -> Path:
    # The specification says to ignore a relative path; expanduser never raises, Path.home() does.
    base = os.environ.get(variable, "")
    return Path(base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), default), "mpg")
