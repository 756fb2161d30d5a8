"""Defaults of options from outside the command line: MPG_* variables, and below them the config file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("auto", "live", "plain", "json", "events", "table", "tree", "text")  # of any command
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
    group: Any, argv: Sequence[str], values: Mapping[str, Any], source: str, environ: Mapping[str, str]
) -> Defaults:
    """Defaults of the command that `argv` calls, from the `values` of a file, `source`, and from `environ`.

    `group` is Click's; the command may be one of a group in it.
    """
    path: list[str] = []
    command = group
    for word in argv:
        commands = getattr(command, "commands", {})
        if word not in commands:
            break
        path.append(word)
        command = commands[word]
    found, origins = _of_command(command, values, source, environ) if path else ({}, {})
    for word in reversed(path):
        found = {word: found}
    return Defaults(found, origins)


def _of_command(
    command: Any, values: Mapping[str, Any], source: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by parameter, and where each comes from by flag."""
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for parameter in command.params:
        flag = next((option for option in parameter.opts if option.startswith("--")), None)
        if flag is None:
            continue
        variable = "MPG_" + flag[2:].upper().replace("-", "_")
        key = flag[2:].replace("-", "_")
        value, origin = environ.get(variable) or None, variable
        if value is None:
            value, origin = values.get(key), source
        if value is not None and not _of_other_commands(parameter, flag, value):
            found[parameter.name] = _fitted(value, many=parameter.multiple)
            origins[flag] = origin
    return found, origins


def _of_other_commands(parameter: Any, flag: str, value: Any) -> bool:
    """Whether it is a format that other commands have: nobody sets one for this command alone.

    What a command has is its metavar, as in `auto|plain|json`.
    """
    return (
        flag == "--format"
        and value in FORMATS
        and value not in str(getattr(parameter, "metavar", "") or value).split("|")
    )


def _fitted(value: Any, *, many: bool) -> Any:
    """A list or one value, as the parameter has it: one command's list is another's text."""
    if many:
        return value if isinstance(value, list) else [value]
    return value[0] if isinstance(value, list) and value else value
