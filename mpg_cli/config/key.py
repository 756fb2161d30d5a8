"""Keys of the config file and their environment variables: name, type and check of the values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import did_you_mean

Value = str | int | float | bool | list[str] | list[int]


@dataclass(frozen=True)
class Key:
    """The key of one option.

    `kind` is the type of one value, `many` allows several. `check` is the option's own check: it raises
    UsageError for an invalid value of that type.
    """

    name: str  # "top-p"
    kind: type  # str, int, float or bool
    check: Callable[[Value], None]
    many: bool = False
    numeric: bool = False  # text that the file may contain as a number
    home: bool = False  # expand a leading ~
    in_file: bool = True  # whether the file may set it
    separator: str = "\n"  # of several values in the variable, in addition to the newline

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "MPG_" + self.name.upper().replace("-", "_")

    @property
    def parameter(self) -> str:
        """The name as an identifier."""
        return self.name.replace("-", "_")

    def split(self, text: str) -> list[str]:
        """The values in the text of the variable."""
        return [part for part in text.replace(self.separator, "\n").split("\n") if part]


Keys = Mapping[str, Key]


def find_key(keys: Keys, name: str) -> Key:
    """The key of that name. Raises UsageError if it is unknown or not allowed in the file."""
    if name in keys and keys[name].in_file:
        return keys[name]
    if name in keys:
        raise UsageError(
            "is a command-line option only", hint=f"give it as --{name}, or in {keys[name].variable}"
        )
    names = [key.name for key in keys.values() if key.in_file]
    raise UsageError(
        f"unknown option{did_you_mean(name, names, 1) or ' (choose from ' + ', '.join(names) + ')'}"
    )


def checked(key: Key, raw: Any) -> Value:
    """The value `raw` of the file, converted and checked. Raises UsageError."""
    value = _typed(key, raw)
    try:
        key.check(value)
    except UsageError as error:
        raise UsageError(error.message.removeprefix(f"--{key.name} "), hint=error.hint) from None
    return value


def _typed(key: Key, raw: Any) -> Value:
    """The value converted to the type of the option. Raises UsageError for another type."""
    from mpg_cli.io.safe_yaml import kind_of  # imports YAML, needed only with a config file

    if raw == "" and key.kind is str:
        raise UsageError("is empty; remove the key")
    if key.many:
        items = raw if isinstance(raw, list) else [raw]
        if not items or not all(type(item) is key.kind and item != "" for item in items):
            what = "a whole number or a list of them" if key.kind is int else "text or a list of texts"
            wrong = next((item for item in items if type(item) is not key.kind), raw)
            raise UsageError(f"must be {what}, not {kind_of(wrong)}")
        return [os.path.expanduser(item) for item in items] if key.home else items
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if key.kind is bool and isinstance(raw, bool):
        return raw
    if key.kind is float and number:
        return float(raw)
    if key.kind is int and type(raw) is int:
        return raw
    if key.kind is str and isinstance(raw, str) and raw:
        return os.path.expanduser(raw) if key.home else raw
    if key.numeric and number:
        return str(raw)
    kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(key.kind)
    found = raw if number and key.kind is int else kind_of(raw)
    remedy = "" if kind else "; put it in quotes"
    raise UsageError(f"must be {kind or 'text'}, not {found}{remedy}")
