"""The options that the config file may set, collected from the option groups."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from mpg_cli.config.file import Config, load_config
from mpg_cli.config.key import Key, Keys, find_key
from mpg_cli.config.precedence import Sources
from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.commands import (
    BatchOptions,
    ChatOptions,
    CompareOptions,
    ExplainOptions,
    TuneOptions,
)
from mpg_cli.options.evaluation import MethodsOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import Option, build, options_of
from mpg_cli.options.output import FormatOptions, NoticeOptions, OutputOptions
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.report import ListFormat, ReportFormat, TreeFormat
from mpg_cli.options.run import RunOptions
from mpg_cli.sampling.params import Sampling, Scheme

# If two groups have an option of the same name, the first defines the valid values in the file. Options of
# evaluation, training and persona files are not configurable.
GROUPS: tuple[type, ...] = (
    ModelOptions,
    BlendOptions,
    PromptOptions,
    Sampling,
    RunOptions,
    Scheme,
    FormatOptions,
    NoticeOptions,
    OutputOptions,
    ChatOptions,
    BatchOptions,
    CompareOptions,
    ExplainOptions,
    TuneOptions,
)
_OTHER_FORMATS = (ReportFormat, ListFormat, TreeFormat, MethodsOptions)


@cache
def _table() -> Mapping[str, tuple[type, Option]]:
    """Group and option by name (`top-p`), without arguments."""
    found: dict[str, tuple[type, Option]] = {}
    for kind in GROUPS:
        for one in options_of(kind):
            if one.flag:
                found.setdefault(one.name, (kind, one))
    return found


def options() -> Mapping[str, Option]:
    """The options by name."""
    return {name: one for name, (_, one) in _table().items()}


@cache
def keys() -> Keys:
    """The config keys of the options, by name."""
    return {name: _key(kind, one) for name, (kind, one) in _table().items()}


@cache
def formats() -> frozenset[str]:
    """All values of --format over all commands; a command ignores a configured value of other commands."""
    every = (one for kind in (*GROUPS, *_OTHER_FORMATS) for one in options_of(kind))
    return frozenset(choice for one in every if one.name == "format" for choice in one.choices)


def sources(config: Config | None = None) -> Sources:
    """Environment and config file (`config` replaces the file). Raises UsageError for an invalid file."""
    return Sources(keys(), load_config(keys()) if config is None else config, os.environ, formats())


def key(name: str) -> Key:
    """The config key of that name. Raises UsageError if it is unknown."""
    try:
        return find_key(keys(), name)
    except UsageError as error:
        raise UsageError(f"{visible(name, 60)}: {error.message}", hint=error.hint) from None


def effective(key: Key, sources: Sources) -> tuple[Any, str]:
    """The value in effect and its origin; None and a description if there is no fixed default."""
    value, origin = sources.value(key.name)
    if value is not None:
        return value, visible(origin)
    one = options()[key.name]
    default = one.default if one.text is None else one.text
    return (None, one.shown) if default in (None, (), {}) else (default, "default")


def _key(kind: type, one: Option) -> Key:
    return Key(
        name=one.name,
        kind=str if one.kind is Path else one.kind,
        check=_check_persona if one.name == "persona" else partial(_check, kind, one),
        many=one.many,
        numeric=one.numeric,
        home=one.home,
        in_file=one.in_config,
        separator=one.separator,
    )


def _check(kind: type, one: Option, value: Any) -> None:
    """Raise UsageError if the group rejects the value, all other options at their defaults."""
    build(kind, {one.key: value})


def _check_persona(value: Any) -> None:
    """Raise UsageError for an expression that does not parse; known personas depend on the folders."""
    from mpg_cli.personas import expression

    for text in value:
        expression.parse(text)
