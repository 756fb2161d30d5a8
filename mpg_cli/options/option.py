"""Options, each defined once: flag, type, range, help and default are metadata of a dataclass field.

A *group* is a frozen dataclass whose fields are made by `option` (or `group`, for a nested group).
Command-line flags, MPG_* variables, config keys, fields of batch lines and keyword arguments of the Python
API all derive from the groups. Torch-free.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mpg_cli.errors import RangeError, UnknownChoice
from mpg_cli.io.text import did_you_mean, visible

_OPTION, _GROUP = "option", "group"  # keys of a field's metadata
_TYPE_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Path: "a path",
    Mapping: "a mapping with names as keys",
}
_SEPARATORS: dict[type, str] = {
    int: ",",
    Path: os.pathsep,
}  # characters that values of the type cannot contain


@dataclass(frozen=True)
class Option:
    """One option of a group.

    `kind` is the type of one value on the command line (str, int, float, bool, Path), `type` the type of the
    field in Python (`annotation` without None); `many` marks a repeatable option. Numbers lie in `low` …
    `high`; `above` excludes `low`. `read` converts text to the field's value; `text` is then the default as
    text. An option whose default is MISSING is required.
    """

    field: str
    annotation: Any
    type: Any
    flag: str  # "--top-p", "--stats/--no-stats"; "" for an argument
    help: str
    kind: type
    many: bool
    optional: bool  # None is a valid value
    default: Any
    metavar: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    remedy: str = ""  # hint if the value is out of range
    shown: str = ""  # description of the default, for help
    complete: str | tuple[str, ...] = ""  # shell completion: the name of a completer, or the values
    read: Callable[[Any], Any] | None = None
    text: str | None = None
    in_config: bool = True  # whether the config file may set it
    numeric: bool = False  # text that the config file may write as a number
    separator: str = "\n"  # of several values in an environment variable, in addition to the newline
    home: bool = False  # expand a leading ~

    @property
    def name(self) -> str:
        """The name without leading dashes, as in the config file: `top-p`."""
        return self.flag.split("/")[0].removeprefix("--") or self.field.replace("_", "-")

    @property
    def key(self) -> str:
        """The name as an identifier, as of the command's parameter: `top_p`."""
        return self.name.replace("-", "_")

    @property
    def keyword(self) -> str:
        """The name in Python and in batch lines: the field's name if repeatable, else `key`."""
        return self.field if self.many else self.key

    @property
    def setting(self) -> str:
        """The name in messages: the flag, or the argument's metavar."""
        return f"--{self.name}" if self.flag else self.metavar

    def check(self, value: Any) -> None:
        """Raise RangeError for an invalid value."""
        if value is None and self.optional:
            return
        kinds, several = self.kinds, get_origin(self.type) is tuple
        if several and kinds and not isinstance(value, tuple):
            raise RangeError(self.setting, f"must be a tuple, not {visible(repr(value), 60)}")
        for one in value if several else (value,):
            if kinds and not any(_is_a(one, kind) for kind in kinds):
                words = " or ".join(_TYPE_NAMES[kind] for kind in kinds)
                raise RangeError(self.setting, f"must be {words}, not {visible(repr(one), 60)}")
        if self.choices and value not in self.choices:
            raise unknown(self.setting, value, self.choices)
        if self.type in (int, float):
            self._check_number(value)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The valid Python types of one value; empty if the group itself checks them."""
        one = get_args(self.type)[0] if get_origin(self.type) is tuple else self.type
        kinds = get_args(one) if get_origin(one) in (Union, types.UnionType) else (get_origin(one) or one,)
        return kinds if all(kind in _TYPE_NAMES for kind in kinds) else ()

    def _check_number(self, value: float) -> None:
        inside = self.low < value <= self.high if self.above else self.low <= value <= self.high
        if self.type is float and isinstance(value, int) and abs(value) >= 2**63:
            raise RangeError(self.setting, "is too large")
        if not (inside and (isinstance(value, int) or math.isfinite(value))):
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


def option(default: Any = MISSING, flag: str = "", /, *, help: str, **how: Any) -> Any:
    """A dataclass field for an option; `how` holds further attributes of `Option`.

    The default `flag` is `--` and the field's name; `argument=True` makes a positional argument. The default
    `metavar` lists the choices.
    """
    metadata = {_OPTION: {"flag": flag, "help": help, **how}}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: type) -> Any:
    """A dataclass field for a nested group; its options join those of the outer group."""
    return dataclasses.field(default_factory=kind, metadata={_GROUP: kind})


@cache
def options_of(kind: type) -> tuple[Option, ...]:
    """The options of a group and its nested groups, in the order of the fields."""
    own, found = _own(kind), list[Option]()
    for field in dataclasses.fields(kind):
        if _GROUP in field.metadata:
            found += options_of(field.metadata[_GROUP])
        elif field.name in own:
            found.append(own[field.name])
    return tuple(found)


def build(kind: type, values: Mapping[str, Any], base: Any = None) -> Any:
    """A group from values by `Option.key`; text is converted, missing values come from `base` or the
    defaults.

    Raises UsageError for an invalid value.
    """
    own, arguments = _own(kind), dict[str, Any]()
    for field in dataclasses.fields(kind):
        if _GROUP in field.metadata:
            arguments[field.name] = build(field.metadata[_GROUP], values, getattr(base, field.name, None))
        elif field.name in own and own[field.name].key in values:
            arguments[field.name] = _read(own[field.name], values[own[field.name].key])
        elif base is not None:
            arguments[field.name] = getattr(base, field.name)
    built = kind(**arguments)
    check_fields(built)
    return built


def check_fields(group: Any, kind: type | None = None) -> None:
    """Raise RangeError for a field with an invalid value; `kind` has the options if a subclass has others.

    `build` calls it; groups that are also constructed directly call it in `__post_init__`.
    """
    for name, one in _own(kind or type(group)).items():
        one.check(getattr(group, name))


def unknown(setting: str, value: object, choices: Collection[str]) -> UnknownChoice:
    """The error for a value that is not among the choices."""
    return UnknownChoice(
        setting, f"'{visible(str(value), 60)}'", choices, close=did_you_mean(str(value), choices, most=1)
    )


@cache
def _own(kind: type) -> Mapping[str, Option]:
    """The options of a group by field name, without nested groups."""
    hints = get_type_hints(kind)
    return {f.name: _option(f, hints[f.name]) for f in dataclasses.fields(kind) if _OPTION in f.metadata}


def _read(option: Option, value: Any) -> Any:
    """A given value as the field's value: one item or a list becomes a tuple, text is converted."""
    if not option.many:
        value = _path(option, value)
        return option.read(value) if option.read is not None and isinstance(value, str) else value
    if isinstance(value, Mapping) and not (get_origin(option.type) is tuple and option.kinds):
        return value
    items = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    items = tuple(_path(option, item) for item in items)
    texts = all(isinstance(item, str) for item in items)
    return option.read(items) if option.read is not None and texts else items


def _path(option: Option, value: Any) -> Any:
    """A Path if the option takes paths, a path's text if it takes text."""
    if option.kind is Path and isinstance(value, str | os.PathLike):
        return Path(value)
    return os.fspath(value) if option.kind is str and isinstance(value, os.PathLike) else value


def _option(field: dataclasses.Field[Any], annotation: Any) -> Option:
    how = dict(field.metadata[_OPTION])
    argument = how.pop("argument", False)
    flag = how.pop("flag") or ("" if argument else f"--{field.name.replace('_', '-')}")
    optional = type(None) in get_args(annotation) and get_origin(annotation) in (Union, types.UnionType)
    inner = Union[tuple(a for a in get_args(annotation) if a is not type(None))] if optional else annotation  # noqa: UP007
    many = how.pop("many", get_origin(inner) is tuple)
    one = get_args(inner)[0] if get_origin(inner) is tuple else inner
    if get_origin(one) is Literal:
        how.setdefault("choices", get_args(one))
        inner, one = str if inner is one else inner, str
    if "read" in how or not isinstance(one, type):
        one = str
    if how.get("choices"):
        how.setdefault("metavar", "|".join(how["choices"]))
        how.setdefault("complete", how["choices"])
    if one in _SEPARATORS:
        how.setdefault("separator", _SEPARATORS[one])
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return Option(
        field.name, annotation, inner, flag, kind=one, many=many, optional=optional, default=default, **how
    )


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value has the type; an int counts as float, a bool never as a number."""
    if isinstance(value, bool):
        return kind is bool
    if kind is Mapping:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _shown(bound: float) -> str:
    return "2^64 - 1" if bound == 2**64 - 1 else f"{bound:g}"
