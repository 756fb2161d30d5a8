"""Reads the user's config file. Precedence: flag, `MPG_*`, config file, default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpg_cli.config.key import Keys, Value, checked, find_key
from mpg_cli.config.paths import config_file
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.text import visible


@dataclass(frozen=True)
class Config:
    """The values of the config file by parameter name (`max_tokens` for `max-tokens`)."""

    file: Path
    values: Mapping[str, Value] = field(default_factory=dict)


def load_config(keys: Keys, file: Path | None = None) -> Config:
    """The config file, empty if it does not exist. Raises one UsageError that lists all errors in it."""
    file = file or config_file()
    if not os.path.exists(file):
        return Config(file)
    documents = safe_yaml.read(file, error=UsageError)
    if not documents:
        return Config(file)
    if len(documents) > 1:
        raise UsageError(f"{visible(str(file))}:{documents[1].line}: a config file must be a single document")
    values: dict[str, Value] = {}
    problems: list[UsageError] = []
    for name, raw in documents[0].data.items():
        try:
            values[name.replace("-", "_")] = checked(find_key(keys, name), raw)
        except UsageError as error:
            problems.append(UsageError(f"{documents[0].where((name,))}: {error.message}", hint=error.hint))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UsageError("\n".join(problem.text for problem in problems))
    return Config(file, values)
