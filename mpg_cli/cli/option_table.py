"""Every option that the config file may set, once, from the groups that the commands share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from mpg_cli.config.file import Config, load_config
from mpg_cli.config.key import Key, Keys, known
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

# Where two groups have an option of one name, the first one says what the file may hold. Groups of commands
# that do more than sample (evaluation, training, new personas) are not for the file.
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
    """Group and option by name (`top-p`); arguments have none."""
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
    """What config/ asks of the options, by name."""
    return {name: _key(kind, one) for name, (kind, one) in _table().items()}


@cache
def formats() -> frozenset[str]:
    """The values that --format has in any command: one for others is none for this."""
    every = (one for kind in (*GROUPS, *_OTHER_FORMATS) for one in options_of(kind))
    return frozenset(choice for one in every if one.name == "format" for choice in one.choices)


def sources(config: Config | None = None) -> Sources:
    """Environment and config file (or `config` for it). Raises UsageError for mistakes in the file."""
    return Sources(keys(), load_config(keys()) if config is None else config, os.environ, formats())


def key(name: str) -> Key:
    """The key of that name in the config file. Raises UsageError where there is none."""
    try:
        return known(keys(), name)
    except UsageError as error:
        raise UsageError(f"{visible(name, 60)}: {error.message}", hint=error.hint) from None


def effective(key: Key, sources: Sources) -> tuple[Any, str]:
    """The value that commands use and where it comes from; None and words where there is no fixed default."""
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
    """Raise UsageError where the group does not take the value with everything else as it is by default."""
    build(kind, {one.key: value})


def _check_persona(value: Any) -> None:
    """Raise UsageError for an expression that does not parse; which personas there are depends on folders."""
    from mpg_cli.personas import expression

    for text in value:
        expression.parse(text)
