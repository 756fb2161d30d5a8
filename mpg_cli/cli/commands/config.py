"""`mpg config`: what config file and environment set, and changes to the file."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, lazy_group

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

# Each module loads when its command is called; the line is that of the help.
COMMANDS = {
    "get": Lazy(
        "mpg_cli.cli.commands.config_show:get", "Print the value that a command would use for an option."
    ),
    "set": Lazy("mpg_cli.cli.commands.config_set:set_", "Set an option in the config file."),
    "unset": Lazy("mpg_cli.cli.commands.config_set:unset", "Take an option out of the config file."),
    "list": Lazy("mpg_cli.cli.commands.config_show:list_", "List what the file and the environment set."),
    "path": Lazy("mpg_cli.cli.commands.config_set:path", "Print where the config file is or would be."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS, CONTEXT),
    help="Show and change the defaults of the options.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@app.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
