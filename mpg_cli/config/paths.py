"""Paths: the package's data folder, the user's XDG folders and the config file."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"  # bundled with the package


def config_dir() -> Path:
    """`$XDG_CONFIG_HOME/mpg`, by default `~/.config/mpg`."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/mpg`, by default `~/.cache/mpg`."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def models_dir() -> Path:
    """The folder of converted and fetched models."""
    return cache_dir() / "models"


def hub_cache_dir() -> Path:
    """The cache of the Hugging Face hub, as huggingface_hub finds it, without its import."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.join("~", ".cache"))
    home = os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))
    own = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return Path(os.path.expandvars(os.path.expanduser(os.environ.get("HF_HUB_CACHE", own))))


def state_dir() -> Path:
    """`$XDG_STATE_HOME/mpg`, by default `~/.local/state/mpg`."""
    return _xdg("XDG_STATE_HOME", os.path.join(".local", "state"))


def persona_dir() -> Path:
    """The folder of the user's own personas."""
    return config_dir() / "personas"


def config_file() -> Path:
    """The path of the config file, which may not exist."""
    return config_dir() / "config.yaml"


def _xdg(variable: str, default: str) -> Path:
    # The XDG specification says to ignore relative paths. expanduser never raises, Path.home() may.
    base = os.environ.get(variable, "")
    return Path(base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), default), "mpg")
