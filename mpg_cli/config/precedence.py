"""Defaults of options from outside the command line: MPG_* variables, and below them the config file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpg_cli.config.key import Key, Keys

if TYPE_CHECKING:  # YAML loads where there is a file
    from mpg_cli.config.file import Config

_FLAG = re.compile(r"--[a-z][a-z-]*")
_FORMAT = "--format"  # the one option whose values differ between the commands


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


@dataclass(frozen=True)
class Sources:
    """What environment and config file say of the options; `formats` are those of any command."""

    keys: Keys
    config: Config
    environ: Mapping[str, str]
    formats: frozenset[str] = frozenset()

    def value(self, name: str, *, many: bool = False) -> tuple[Any, str]:
        """The value of an option by name, and its variable or the file; None and "" where neither sets it.

        A variable holds one text, or several for an option that repeats (`many`, where it has no key).
        """
        key = self.keys.get(name) or Key(name, str, check=_anything, many=many)
        if text := self.environ.get(key.variable):
            return (key.split(text) if key.many else text), key.variable
        if key.parameter in self.config.values:
            return self.config.values[key.parameter], str(self.config.file)
        return None, ""

    def defaults(self, group: Any, argv: Sequence[str]) -> Defaults:
        """Defaults of the command that `argv` calls, of Click's `group` or of a group in it."""
        path: list[str] = []
        command = group
        for word in argv:
            commands = getattr(command, "commands", {})
            if word not in commands:
                break
            path.append(word)
            command = commands[word]
        found, origins = self._of_command(command) if path else ({}, {})
        for word in reversed(path):
            found = {word: found}
        return Defaults(found, origins)

    def _of_command(self, command: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Values by parameter, and where each comes from by flag."""
        found: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for parameter in command.params:
            flag = next((option for option in parameter.opts if option.startswith("--")), None)
            if flag is None:
                continue
            value, origin = self.value(flag[2:], many=parameter.multiple)
            if value is not None and not (flag == _FORMAT and self._of_other_commands(parameter, value)):
                found[parameter.name] = _fitted(value, many=parameter.multiple)
                origins[flag] = origin
        return found, origins

    def _of_other_commands(self, parameter: Any, value: Any) -> bool:
        """Whether it is a format that only other commands have: it was not set for this one.

        What a command has is its metavar, as in `auto|plain|json`.
        """
        own = str(getattr(parameter, "metavar", "") or value).split("|")
        return value in self.formats and value not in own


def _anything(value: Any) -> None:
    """The check of an option without a key: its command has another."""


def _fitted(value: Any, *, many: bool) -> Any:
    """A list or one value, as the parameter has it: one command's list is another's text."""
    if many:
        return value if isinstance(value, list) else [value]
    return value[0] if isinstance(value, list) and value else value
