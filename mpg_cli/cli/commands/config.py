"""`mpg config`: what the config file says, and changes to it."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from mpg_cli.cli import completers
from mpg_cli.config.file import OPTIONS, Value, load_config, unknown_key
from mpg_cli.config.paths import config_file
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import visible

EPILOG = """\b
Examples:
  mpg config set model Qwen/Qwen3-0.6B
  mpg config set stop END "###"
  mpg config get model -v
  mpg config list --all
\b
A key is the long name of an option. Precedence: option, MPG_NAME in the environment, this file, default."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

app = typer.Typer(
    help="Show and change the defaults of the options.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

Key = Annotated[
    str, typer.Argument(metavar="KEY", help="Such as max-tokens.", autocompletion=completers.config_key)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say where each value comes from.")]


@app.command("get", context_settings=CONTEXT)
def get(ctx: typer.Context, key: Key, verbose: Verbose = False) -> None:
    """Print the value that a command would use for an option.

    Exit status 1 where nothing sets it and it has no fixed default.
    """
    key = _known(key)
    streams = Streams.current()
    value, origin = _value(ctx, key, load_config().values)
    if value is None:
        streams.say(f"mpg: {key} is not set{f' (default: {origin})' if origin else ''}")
        raise typer.Exit(1)
    _write(streams, f"{_shown(value)}  ({origin})" if verbose else _shown(value))


@app.command("set", context_settings=CONTEXT)
def set_(
    key: Key,
    value: Annotated[
        list[str],
        typer.Argument(
            metavar="VALUE...",
            help="One value; several for options that repeat.",
            autocompletion=completers.config_value,
        ),
    ],
) -> None:
    """Set an option in the config file.

    Comments and everything else in the file stay as they are.
    """
    from mpg_cli.cli.commands.config_check import check_value
    from mpg_cli.config import edit as config_edit

    typed = config_edit.read_value(_known(key), value)
    check_value(key, typed)
    config_edit.set_key(config_file(), key, typed)
    if os.environ.get(_variable(key)):
        Streams.current().say(f"mpg: {_variable(key)} is set and goes before the file")


@app.command("unset", context_settings=CONTEXT)
def unset(key: Annotated[str, typer.Argument(metavar="KEY", autocompletion=completers.config_key)]) -> None:
    """Take an option out of the config file.

    This works for keys that are no option too, and where the file has mistakes.
    """
    from mpg_cli.config import edit as config_edit

    if not config_edit.unset_key(config_file(), key):
        Streams.current().say(f"mpg: {visible(key, 60)} is not in {visible(str(config_file()))}")
        raise typer.Exit(1)


@app.command("list", context_settings=CONTEXT)
def list_(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also options that have their default.")] = False,
    verbose: Verbose = False,
) -> None:
    """List what the file and the environment set."""
    streams = Streams.current()
    values = load_config().values
    for key in OPTIONS:
        value, origin = _value(ctx, key, values)
        is_set = bool(os.environ.get(_variable(key))) or key.replace("-", "_") in values
        if is_set or (all_ and value is not None):
            _write(streams, f"{key}: {_shown(value)}" + (f"  # {origin}" if verbose else ""))
        elif all_:
            _write(streams, f"# {key}:" + (f" {origin}" if origin else ""))


@app.command("path", context_settings=CONTEXT)
def path() -> None:
    """Print where the config file is or would be."""
    _write(Streams.current(), str(config_file()))


@app.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _known(key: str) -> str:
    if key not in OPTIONS:
        raise UsageError(f"{visible(key, 60)}: {unknown_key(key)}")
    return key


def _variable(key: str) -> str:
    return "MPG_" + key.upper().replace("-", "_")


def _value(ctx: typer.Context, key: str, values: Any) -> tuple[Value | None, str]:
    """The value of a key and where it comes from; for none, what its default is in words."""
    variable, name = _variable(key), key.replace("-", "_")
    if os.environ.get(variable):
        return os.environ[variable], variable
    if name in values:
        return values[name], visible(str(config_file()))
    group: Any = ctx.find_root().command
    for command in ("generate", "batch", "chat"):
        found = group.get_command(ctx.find_root(), command)
        for parameter in found.params if found else ():
            if f"--{key}" in parameter.opts:
                if parameter.default is not None:
                    return parameter.default, "default"
                words = getattr(parameter, "show_default", None)
                return None, words if isinstance(words, str) else ""
    return None, ""


def _shown(value: Any) -> str:
    from mpg_cli.io.yaml_text import scalar

    if isinstance(value, list):
        return value[0] if len(value) == 1 else "[" + ", ".join(map(scalar, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write(streams: Streams, text: str) -> None:
    streams.stdout.write((clean(text) if streams.stdout_tty else text) + "\n")
