"""Command groups that import a command when it is called, and parameters parsed without pydantic.

Both keep `mpg --help` and shell completion fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import typer.core
import typer.main

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Lazy(NamedTuple):  # quicker to define than a dataclass
    """A command: its `target` (`module:attribute`, a function or a Typer app) and its line in the help.

    The command's epilog is the module's EPILOG, if any. With `dashes` an argument may begin with a dash, such
    as -0.5; the command must not have options of its own.
    """

    target: str
    summary: str
    dashes: bool = False


def show_help(ctx: typer.Context) -> None:
    """Print the help of the group if no command was named."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def command_group(
    lazy: Mapping[str, Lazy], alone: Callable[[typer.Context], None] = show_help, **settings: Any
) -> typer.Typer:
    """A group of these commands; `alone` runs before every command, and where none is named. `settings` are
    Typer's.
    """
    app = typer.Typer(
        cls=_group_class(lazy),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
        **settings,
    )
    app.callback(invoke_without_command=True)(alone)
    return app


def _group_class(lazy: Mapping[str, Lazy]) -> type[typer.core.TyperGroup]:
    class Group(typer.core.TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(lazy, self.commands)

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


def bypass_pydantic(command: Any) -> None:
    """Parse plain values of the command's parameters directly; leave all others to Typer.

    Typer (from 0.29) validates with pydantic, whose import takes longer than the rest of the start-up.
    """
    original = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        parameters: list[Any] = original(ctx)
        for parameter in parameters:
            slow = getattr(parameter, "get_runtime_param", None)
            if slow is not None and "get_runtime_param" not in vars(parameter):
                parameter.get_runtime_param = _PlainReader(parameter.type_descriptor, slow).get
        return parameters

    command.get_params = get_params


def _summary(commands: Mapping[str, Any], lazy: Mapping[str, Lazy], name: str) -> str:
    return lazy[name].summary if name in lazy else str(commands[name].get_short_help_str())


class _Commands(MutableMapping[str, Any]):
    """Click's commands by name; a command is imported when it is looked up."""

    def __init__(self, lazy: Mapping[str, Lazy], made: Mapping[str, Any]) -> None:
        self._lazy, self._made = lazy, dict(made)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _load(name, self._lazy[name])
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


def _load(name: str, lazy: Lazy) -> Any:
    """Import the command and convert it to Click's."""
    place, _, attribute = lazy.target.partition(":")
    module = import_module(place)
    found = getattr(module, attribute)
    parent = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    parent.callback()(_nothing)  # makes it a group
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        epilog = getattr(module, "EPILOG", None)
        settings = {**_CONTEXT, "ignore_unknown_options": lazy.dashes}
        parent.command(name, epilog=epilog, context_settings=settings)(found)
    group: Any = typer.main.get_command(parent)
    command = group.commands[name]
    for one in (command, *getattr(command, "commands", {}).values()):
        bypass_pydantic(one)
        _hide_types(one)
    return command


def _hide_types(command: Any) -> None:
    """Leave Python's types (`PATH <list[Path]>`) out of the help: the metavar of an argument says enough."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None


def _nothing() -> None:
    pass


class _NotPlain(Exception):
    """A value or parameter that Typer itself must handle."""


class _PlainReader:
    """Parses values of one parameter, in place of Typer's runtime parameter (only `coerce` is used)."""

    def __init__(self, descriptor: Any, slow: Callable[[], Any]) -> None:
        self._descriptor, self._slow = descriptor, slow

    def get(self) -> _PlainReader:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of the parameter. Raises what Typer raises for a wrong one."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return self._read(value)
        except _NotPlain:
            return self._slow().coerce(value, param=param, ctx=ctx)

    def _read(self, value: Any) -> Any:
        kind, info = self._descriptor.annotation, self._descriptor.parameter_info
        if (
            any(getattr(info, name, None) for name in _CONDITIONS)
            or info.min is not None
            or info.max is not None
        ):
            raise _NotPlain
        if get_origin(kind) is list:
            if not isinstance(value, list | tuple):
                raise _NotPlain
            return [_plain(item, get_args(kind)[0]) for item in value]
        return _plain(value, kind)


_CONDITIONS = ("parser", "click_type", "exists", "resolve_path", "writable", "allow_dash", "path_type")


def _plain(value: Any, kind: Any) -> Any:
    """`value` as text, number, boolean, path or literal. Raises _NotPlain."""
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
                raise _NotPlain from None
    raise _NotPlain
