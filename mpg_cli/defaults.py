"""Defaults of options from outside the command line: MPG_* variables, and below them the config file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_FLAG = re.compile(r"--[a-z][a-z-]*")


@dataclass(frozen=True)
class Defaults:
    """Click's `default_map` for every command, and where each value came from."""

    by_command: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)  # "--top-p" to "MPG_TOP_P" or a file

    def origin(self, message: str, argv: Sequence[str]) -> str | None:
        """Where the option that an error message names first was set, if not on the command line."""
        match = _FLAG.search(message)
        if match is None or any(arg.split("=")[0] == match.group() for arg in argv):
            return None
        return self.origins.get(match.group())


def collect(
    commands: Mapping[str, Any], values: Mapping[str, Any], source: str, environ: Mapping[str, str]
) -> Defaults:
    """Defaults of `commands` (Click's, by name) from the `values` of a file, `source`, and from `environ`."""
    by_command: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for name, command in commands.items():
        found = by_command.setdefault(name, {})
        for parameter in command.params:
            flag = next((option for option in parameter.opts if option.startswith("--")), None)
            if flag is None:
                continue
            variable = "MPG_" + flag[2:].upper().replace("-", "_")
            key = flag[2:].replace("-", "_")
            if environ.get(variable):
                value: Any = environ[variable]
                found[parameter.name] = [value] if parameter.multiple else value
                origins[flag] = variable
            elif key in values:
                value = values[key]
                single = parameter.multiple and not isinstance(
                    value, list
                )  # one command's list, another's text
                found[parameter.name] = [value] if single else value
                origins[flag] = source
    return Defaults(by_command, origins)
