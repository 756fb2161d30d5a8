"""What config file and environment may say for an option: name, type and the check of a value."""

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
    """What the config file and the environment may say for one option, made from the option.

    `kind` is the type of one value, `many` whether there may be several; `check` raises UsageError, in the
    words of the option, for a value of that type that the option does not have.
    """

    name: str  # "top-p"
    kind: type  # str, int, float or bool
    check: Callable[[Value], None]
    many: bool = False
    numeric: bool = False  # text that may be written as a number
    home: bool = False  # a leading ~ is the home folder
    in_file: bool = True  # otherwise the file may not set it
    separator: str = "\n"  # beside the newline, between several values in a variable

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "MPG_" + self.name.upper().replace("-", "_")

    @property
    def parameter(self) -> str:
        """Its name as an identifier."""
        return self.name.replace("-", "_")

    def split(self, text: str) -> list[str]:
        """The values in the text of its variable."""
        return [part for part in text.replace(self.separator, "\n").split("\n") if part]


Keys = Mapping[str, Key]


def known(keys: Keys, name: str) -> Key:
    """The key of that name. Raises UsageError where the file cannot have it."""
    if name in keys and keys[name].in_file:
        return keys[name]
    if name in keys:
        raise UsageError("is an option of the command line only", hint="leave it out of the config file")
    names = [key.name for key in keys.values() if key.in_file]
    raise UsageError(f"unknown option{did_you_mean(name, names, 1) or '; known are ' + ', '.join(names)}")


def checked(key: Key, raw: Any) -> Value:
    """The value that the file holds for a key, `raw`, as one of the option. Raises UsageError."""
    value = _typed(key, raw)
    try:
        key.check(value)
    except UsageError as error:
        raise UsageError(error.message.removeprefix(f"--{key.name} "), hint=error.hint) from None
    return value


def _typed(key: Key, raw: Any) -> Value:
    """The value as the type that the option has. Raises UsageError for one of another type."""
    from mpg_cli.io.safe_yaml import kind_of  # YAML loads where there is a file

    if key.many:
        items = raw if isinstance(raw, list) else [raw]
        if not items or not all(type(item) is key.kind and item != "" for item in items):
            what = "a whole number or a list of them" if key.kind is int else "text or a list of texts"
            raise UsageError(f"must be {what}, not {kind_of(raw)}")
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
    if raw == "" and key.kind is str:
        raise UsageError("is empty; leave the key out")
    kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(key.kind)
    found = raw if number and key.kind is int else kind_of(raw)
    remedy = "" if kind else "; put it in quotes"
    raise UsageError(f"must be {kind or 'text'}, not {found}{remedy}")
