"""Defaults of options from MPG_* variables and, with lower precedence, the config file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mpg_cli.config.key import Key, Keys

if TYPE_CHECKING:  # imports YAML, needed only with a config file
    from mpg_cli.config.file import Config

_FORMAT = "--format"  # the only option whose values differ between commands


@dataclass(frozen=True)
class Defaults:
    """Click's `default_map`, and the origin of each value."""

    by_command: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)  # "--top-p" to "MPG_TOP_P" or a file
    letters: Mapping[str, str] = field(default_factory=dict)  # "--persona" to "p"

    def origin(self, flags: Iterable[str], argv: Sequence[str]) -> str | None:
        """The origin of the first of these options that is set and not on the command line."""
        for flag in flags:
            if flag in self.origins and not self._given(flag, argv):
                return self.origins[flag]
        return None

    def _given(self, flag: str, argv: Sequence[str]) -> bool:
        """Whether the option is on the command line; a short one may be part of a word, as in -qp."""
        letter = self.letters.get(flag)
        short = re.compile(f"-[A-Za-z]*{letter}") if letter else None
        return any(arg.split("=")[0] == flag or (short is not None and short.match(arg)) for arg in argv)


@dataclass(frozen=True)
class Sources:
    """Settings from environment and config file; `formats` are the --format values of all commands."""

    keys: Keys
    config: Config
    environ: Mapping[str, str]
    formats: frozenset[str] = frozenset()

    def value(self, name: str, *, many: bool = False) -> tuple[Any, str]:
        """The value of an option and its origin (variable or file); None and "" if it is not set.

        The variable of a repeatable option holds several values (`many` is used for options without a key).
        """
        key = self.keys.get(name) or Key(name, str, check=_anything, many=many)
        if text := self.environ.get(key.variable):
            return (key.split(text) if key.many else text), key.variable
        if key.parameter in self.config.values:
            return self.config.values[key.parameter], str(self.config.file)
        return None, ""

    def defaults(self, group: Any, argv: Sequence[str]) -> Defaults:
        """Defaults for the command that `argv` calls in Click's `group` or a nested group."""
        path: list[str] = []
        command = group
        for word in argv:
            commands = getattr(command, "commands", {})
            if word not in commands:
                break
            path.append(word)
            command = commands[word]
        own = self._of_command(command) if path else Defaults()
        found = own.by_command
        for word in reversed(path):
            found = {word: found}
        return replace(own, by_command=found)

    def _of_command(self, command: Any) -> Defaults:
        """Values by parameter."""
        found: dict[str, Any] = {}
        origins: dict[str, str] = {}
        letters: dict[str, str] = {}
        for parameter in command.params:
            flag = next((option for option in parameter.opts if option.startswith("--")), None)
            if flag is None:
                continue
            value, origin = self.value(flag[2:], many=parameter.multiple)
            if value is not None and not (flag == _FORMAT and self._is_foreign_format(parameter, value)):
                found[parameter.name] = _fitted(value, many=parameter.multiple)
                origins[flag] = origin
                letters[flag] = next((option[1] for option in parameter.opts if len(option) == 2), "")
        return Defaults(found, origins, letters)

    def _is_foreign_format(self, parameter: Any, value: Any) -> bool:
        """Whether only other commands have this format, so that this command ignores it.

        The metavar lists the command's own formats, as in `auto|plain|json`.
        """
        own = str(getattr(parameter, "metavar", "") or value).split("|")
        return value in self.formats and value not in own


def _anything(value: Any) -> None:
    """No check, for options without a key; their command checks them."""


def _fitted(value: Any, *, many: bool) -> Any:
    """The value as a list or a single value, as the command's parameter expects it."""
    if many:
        return value if isinstance(value, list) else [value]
    return value[0] if isinstance(value, list) and value else value
