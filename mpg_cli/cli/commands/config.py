"""`mpg config`: what config file and environment set; config_set.py has the commands that change the file."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli import option_table
from mpg_cli.cli.commands import config_set
from mpg_cli.cli.commands.config_set import Key
from mpg_cli.config.paths import config_file
from mpg_cli.io.terminal import Streams
from mpg_cli.render.settings import write_line, write_setting, write_unset

EPILOG = """\b
Examples:
  mpg config set model Qwen/Qwen3-0.6B
  mpg config set stop END "###"
  mpg config get model -v
  mpg config list --all
\b
A key is the long name of an option. Precedence: option, MPG_NAME in the environment, this file, default.
A variable of an option that repeats holds one value a line; commas separate token ids and biases as well
(MPG_LOGIT_BIAS=198:-5,50256:-100), colons separate folders (MPG_PERSONA_DIR=mine:ours)."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

app = typer.Typer(
    help="Show and change the defaults of the options.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say where each value comes from.")]


@app.command("get", context_settings=CONTEXT)
def get(key: Key, verbose: Verbose = False) -> None:
    """Print the value that a command would use for an option.

    Exit status 1 where nothing sets it and it has no fixed default.
    """
    streams = Streams.current()
    value, origin = option_table.effective(option_table.key(key), option_table.sources())
    if value is None:
        streams.say(f"mpg: {key} is not set{f' (default: {origin})' if origin else ''}")
        raise typer.Exit(1)
    write_setting(streams, value, f"  ({origin})" if verbose else "")


app.command("set", context_settings=CONTEXT)(config_set.set_)
app.command("unset", context_settings=CONTEXT)(config_set.unset)


@app.command("list", context_settings=CONTEXT)
def list_(
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also options that have their default.")] = False,
    verbose: Verbose = False,
) -> None:
    """List what the file and the environment set."""
    streams, sources = Streams.current(), option_table.sources()
    for key in option_table.keys().values():
        if not key.in_file:
            continue
        value, origin = option_table.effective(key, sources)
        if value is None and all_:
            write_unset(streams, key.name, origin)
        elif value is not None and (all_ or sources.value(key.name)[1]):
            write_setting(streams, value, f"  # {origin}" if verbose else "", name=key.name)


@app.command("path", context_settings=CONTEXT)
def path() -> None:
    """Print where the config file is or would be."""
    write_line(Streams.current(), str(config_file()))


@app.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
