"""A group of commands that are imported when they are called, and parameters that are read without pydantic.

`mpg --help` and TAB would otherwise wait for the modules of all commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import typer.core
import typer.main


class Lazy(NamedTuple):  # quicker to define than a dataclass
    """A command: where it is (`module:attribute`, a function or a Typer) and its line in the help.

    The module's EPILOG, if it has one, is that of the command.
    """

    target: str
    summary: str


def lazy_group(lazy: Mapping[str, Lazy], context: Mapping[str, Any]) -> type[typer.core.TyperGroup]:
    """The class of a group with these commands; `context` are the context settings of each."""

    class Group(typer.core.TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(lazy, context, self.commands)

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.commands)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, _summary(self.commands, lazy, name)) for name in self.commands])

        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
            names = [name for name in self.commands if name.startswith(incomplete)]
            core: Any = typer.core
            found = [core.CompletionItem(name, help=_summary(self.commands, lazy, name)) for name in names]
            return [*found, *super(typer.core.TyperGroup, self).shell_complete(ctx, incomplete)]

    return Group


def quicken(command: Any) -> None:
    """Let plain values of the command's parameters be read at once; what is unusual still goes Typer's way.

    Typer (from 0.29) validates with pydantic, whose import takes longer than all else that is done at start.
    """
    all_of = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        parameters: list[Any] = all_of(ctx)
        for parameter in parameters:
            slow = getattr(parameter, "get_runtime_param", None)
            if slow is not None and "get_runtime_param" not in vars(parameter):
                parameter.get_runtime_param = _Quick(parameter.type_descriptor, slow).itself
        return parameters

    command.get_params = get_params


def _summary(commands: Mapping[str, Any], lazy: Mapping[str, Lazy], name: str) -> str:
    return lazy[name].summary if name in lazy else str(commands[name].get_short_help_str())


class _Commands(MutableMapping[str, Any]):
    """Click's commands by name; one is imported when it is looked up."""

    def __init__(self, lazy: Mapping[str, Lazy], context: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        self._lazy, self._context = lazy, context
        self._made = dict(made)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _load(name, self._lazy[name], self._context)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._lazy or name in self._made

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._lazy, *self._made]))

    def __len__(self) -> int:
        return len({*self._lazy, *self._made})


def _load(name: str, lazy: Lazy, context: Mapping[str, Any]) -> Any:
    """The command, as Typer makes it."""
    place, _, attribute = lazy.target.partition(":")
    module = import_module(place)
    found = getattr(module, attribute)
    parent = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    parent.callback()(_nothing)  # makes it a group
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        epilog = getattr(module, "EPILOG", None)
        parent.command(name, epilog=epilog, context_settings=dict(context))(found)
    group: Any = typer.main.get_command(parent)
    command = group.commands[name]
    for one in (command, *getattr(command, "commands", {}).values()):
        quicken(one)
    return command


def _nothing() -> None:
    pass


class _Unusual(Exception):
    """A value that is not plainly of its type."""


class _Quick:
    """Reads values of one parameter; has the one method that Typer calls on its own readers."""

    def __init__(self, descriptor: Any, slow: Callable[[], Any]) -> None:
        self._descriptor, self._slow = descriptor, slow

    def itself(self) -> _Quick:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of the parameter. Raises what Typer raises for a wrong one."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return self._read(value)
        except _Unusual:
            return self._slow().coerce(value, param=param, ctx=ctx)

    def _read(self, value: Any) -> Any:
        kind, info = self._descriptor.annotation, self._descriptor.parameter_info
        if (
            any(getattr(info, name, None) for name in _CONDITIONS)
            or info.min is not None
            or info.max is not None
        ):
            raise _Unusual
        if get_origin(kind) is list:
            if not isinstance(value, list | tuple):
                raise _Unusual
            return [_plain(item, get_args(kind)[0]) for item in value]
        return _plain(value, kind)


_CONDITIONS = ("parser", "click_type", "exists", "resolve_path", "writable", "allow_dash", "path_type")


def _plain(value: Any, kind: Any) -> Any:
    """`value` as text, number, truth, path or one of a few words. Raises _Unusual."""
    if get_origin(kind) is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
    elif kind is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif kind in (str, bool):
        if type(value) is kind:
            return value
    elif kind in (int, float):
        if type(value) is kind:
            return value
        if (
            isinstance(value, str)
            and value.isascii()
            and value.lstrip("-").replace(".", "", kind is float).isdigit()
        ):
            try:
                return kind(value)
            except ValueError:
                raise _Unusual from None
    raise _Unusual
