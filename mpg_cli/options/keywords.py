"""Option groups as keyword arguments of Python functions. Torch-free."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from textwrap import TextWrapper
from typing import Any, TypeVar

from mpg_cli.errors import MpgError, UsageError, renamed
from mpg_cli.io.text import did_you_mean
from mpg_cli.options.option import build, options_of

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_wrap = TextWrapper(width=100, initial_indent="  ", subsequent_indent="    ").fill

Function = TypeVar("Function", bound=Callable[..., Any])


class Keywords:
    """The options of groups as keyword arguments, by `Option.keyword`, except those in `without`.

    `names` maps flags to keywords; an option without one is an argument of the function, named by its key.

    LOAD = Keywords(ModelOptions, BlendOptions)

    @LOAD.named()
    @LOAD.of
    def load(persona: str, **options: Any) -> None:
        model = LOAD.build(ModelOptions, options)
    """

    def __init__(self, *groups: type, without: Collection[str] = ()) -> None:
        options = [one for group in groups for one in options_of(group)]
        self._options = {one.keyword: one for one in options if one.keyword not in without}
        self.names = {one.setting: one.key if one.keyword in without else one.keyword for one in options}

    def of(self, function: Function) -> Function:
        """A decorator: lists the options in the signature, in place of `**options`, and in the docstring."""
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, kind=_KEYWORD, default=one.default, annotation=one.annotation)
            for name, one in self._options.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        lines = [_wrap(f"{name}: {one.help}") for name, one in self._options.items()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        return function

    @contextmanager
    def named(self) -> Iterator[None]:
        """A context or a decorator: errors raised inside name options by keyword instead of flag."""
        try:
            yield
        except MpgError as error:
            error.rename(self.names)
            raise

    def rename(self, text: str) -> str:
        """The text of a message, with options named by keyword instead of flag."""
        return renamed(text, self.names)

    def check(self, function: str, options: Mapping[str, Any]) -> None:
        """Raise UsageError for an unknown keyword."""
        for name in options.keys() - self._options.keys():
            raise UsageError(
                f"{function}() has no option '{name}'{did_you_mean(name, self._options, most=1)}",
                hint=f"choose from {', '.join(self._options)}",
            )

    def part(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The items of `options` that belong to these groups."""
        return {name: value for name, value in options.items() if name in self._options}

    def keys(self, options: Mapping[str, Any]) -> set[str]:
        """`Option.key` of the given options."""
        return {self._options[name].key for name in self.part(options)}

    def build(self, group: type, options: Mapping[str, Any], base: Any = None) -> Any:
        """A group from the options; missing ones are taken from `base` or their defaults.

        Raises UsageError for an invalid value.
        """
        values = {self._options[name].key: value for name, value in self.part(options).items()}
        return build(group, values, base)
