"""One option, stated once: its flag, values, help and default stand at a field of a frozen dataclass.

A *group* is a frozen dataclass whose fields are made by `option` (or `group`, for a group inside a group).
The flags of the commands, MPG_* variables, keys of the config file, fields of a batch line and keyword
arguments of the Python API all come from the groups. Torch-free.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mpg_cli.errors import RangeError

_OPTION, _GROUP = "option", "group"  # keys of a field's metadata


@dataclass(frozen=True)
class Option:
    """What a command line, an environment, a file and a caller may say for one field of a group.

    `kind` is the type of one value (str, int, float, bool, Path), `many` whether it may be repeated. Numbers
    lie in `low` … `high`, where `above` excludes `low`. `read` turns text into the field's value; `text` is
    then the default as text.
    """

    field: str
    flag: str  # "--top-p", "--stats/--no-stats"; "" for an argument
    help: str
    kind: type
    many: bool
    optional: bool  # None is a value
    default: Any
    metavar: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    remedy: str = ""  # hint where the value is out of range
    shown: str = ""  # default in words, where the value itself says little
    complete: str | tuple[str, ...] = ""  # what completes it: a completer by name, or words
    read: Callable[[Any], Any] | None = None
    text: str | None = None
    in_config: bool = True  # whether the config file may set it
    home: bool = False  # a leading ~ is the home folder

    @property
    def name(self) -> str:
        """Its name without dashes in front, as in the config file: `top-p`."""
        return self.flag.split("/")[0].removeprefix("--") or self.field.replace("_", "-")

    @property
    def key(self) -> str:
        """Its name as an identifier, as for the command's parameter: `top_p`."""
        return self.name.replace("-", "_")

    @property
    def setting(self) -> str:
        """What messages call it: its flag, or the argument's metavar."""
        return f"--{self.name}" if self.flag else self.metavar

    def check(self, value: Any) -> None:
        """Raise RangeError for a value that the option does not have."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise RangeError(self.setting, f"'{value}' is unknown (choose from {', '.join(self.choices)})")
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.check_number(value)

    def check_number(self, value: float) -> None:
        """Raise RangeError for a number out of the range."""
        inside = self.low < value <= self.high if self.above else self.low <= value <= self.high
        if not (inside and math.isfinite(value)):
            shown = f"{value:g}" if isinstance(value, float) else value
            raise RangeError(self.setting, f"{shown} must be {self.range}", hint=self.remedy or None)

    @property
    def range(self) -> str:
        """The range in words: `between 0 and 1`."""
        low, high = _shown(self.low), _shown(self.high)
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"above {low} and at most {high}" if self.above else f"between {low} and {high}"
        if math.isfinite(self.high):
            return f"at most {high}"
        if self.above:
            return f"above {low}"
        if math.isfinite(self.low):
            return "0 or more" if self.low == 0 else f"at least {low}"
        return "a finite number"


def option(default: Any, flag: str = "", /, *, help: str, **how: Any) -> Any:
    """A field of a group that is an option; `how` are the further attributes of `Option`.

    `flag` is `--` and the field's name where it is left out; `argument=True` makes it an argument.
    """
    metadata = {_OPTION: {"flag": flag, "help": help, **how}}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: type) -> Any:
    """A field of a group that is a group itself; its options stand among those of the outer one."""
    return dataclasses.field(default_factory=kind, metadata={_GROUP: kind})


@cache
def options_of(kind: type) -> tuple[Option, ...]:
    """The options of a group, those of groups in it included, in the order of its fields."""
    hints = get_type_hints(kind)
    found: list[Option] = []
    for field in dataclasses.fields(kind):
        if _GROUP in field.metadata:
            found += options_of(field.metadata[_GROUP])
        elif _OPTION in field.metadata:
            found.append(_option(field, hints[field.name]))
    return tuple(found)


def build(kind: type, values: Mapping[str, Any]) -> Any:
    """A group from values by `Option.key`, texts read; what is not there has its default.

    Raises UsageError for a value that cannot be.
    """
    own = {one.field: one for one in options_of(kind)}
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if _GROUP in field.metadata:
            arguments[field.name] = build(field.metadata[_GROUP], values)
        elif _OPTION in field.metadata and own[field.name].key in values:
            arguments[field.name] = _read(own[field.name], values[own[field.name].key])
    return kind(**arguments)


def check_fields(group: Any) -> None:
    """Raise RangeError for a field out of its option's range: for the group's own `__post_init__`."""
    hints = get_type_hints(type(group))
    for field in dataclasses.fields(group):
        if _OPTION in field.metadata:
            _option(field, hints[field.name]).check(getattr(group, field.name))


def _read(option: Option, value: Any) -> Any:
    """The field's value of what was given: lists become tuples, texts are read where the option does so."""
    if option.many:
        items = () if value is None else (value,) if isinstance(value, str) else value
        return option.read(items) if option.read else tuple(items)
    if option.read is not None and isinstance(value, str):
        return option.read(value)
    return value


def _option(field: dataclasses.Field[Any], annotation: Any) -> Option:
    how = dict(field.metadata[_OPTION])
    argument = how.pop("argument", False)
    flag = how.pop("flag") or ("" if argument else f"--{field.name.replace('_', '-')}")
    optional = type(None) in get_args(annotation) and get_origin(annotation) in (Union, types.UnionType)
    inner = next(a for a in get_args(annotation) if a is not type(None)) if optional else annotation
    many = how.pop("many", get_origin(inner) is tuple)
    one = get_args(inner)[0] if get_origin(inner) is tuple else inner
    if get_origin(one) is Literal:
        how.setdefault("choices", get_args(one))
        one = str
    if "read" in how or not isinstance(one, type):
        one = str
    default = field.default_factory() if field.default is MISSING else field.default  # type: ignore[operator]
    return Option(field.name, flag, kind=one, many=many, optional=optional, default=default, **how)


def _shown(bound: float) -> str:
    return "2^64 - 1" if bound == 2**64 - 1 else f"{bound:g}"
