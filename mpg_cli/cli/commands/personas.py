"""`mpg personas`: what personas there are, what they are made of, whether their files are right."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, lazy_group

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

# Each module loads when its command is called; the line is that of the help.
COMMANDS = {
    "list": Lazy(
        "mpg_cli.cli.commands.personas_list:list_",
        "List personas, and the experts that they have for a model.",
    ),
    "show": Lazy(
        "mpg_cli.cli.commands.personas_show:show",
        "Show a persona in full; composites and expressions as a tree.",
    ),
    "check": Lazy("mpg_cli.cli.commands.personas_check:check", "Check persona files and their adapters."),
    "new": Lazy("mpg_cli.cli.commands.personas_new:new", "Write a persona file to start from."),
    "import": Lazy(
        "mpg_cli.cli.commands.personas_import:import_",
        "Turn character cards and Ollama Modelfiles into persona files.",
    ),
}

personas = typer.Typer(
    cls=lazy_group(COMMANDS, CONTEXT),
    help="See, check, make and import personas.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@personas.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
