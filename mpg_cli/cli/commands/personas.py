"""`mpg personas`: lists, shows, checks, creates and imports personas."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, lazy_group

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

# A command's module is imported when the command is called; the summary is its line in the help.
COMMANDS = {
    "list": Lazy(
        "mpg_cli.cli.commands.personas_list:list_",
        "List personas and their experts for a model.",
    ),
    "show": Lazy(
        "mpg_cli.cli.commands.personas_show:show",
        "Show a persona in full, a composite or an expression as a tree.",
    ),
    "check": Lazy("mpg_cli.cli.commands.personas_check:check", "Check persona files and their adapters."),
    "new": Lazy("mpg_cli.cli.commands.personas_new:new", "Write a new persona file."),
    "import": Lazy(
        "mpg_cli.cli.commands.personas_import:import_",
        "Convert character cards and Ollama Modelfiles to persona files.",
    ),
}

personas = typer.Typer(
    cls=lazy_group(COMMANDS, CONTEXT),
    help="List, check, create and import personas.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@personas.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
