"""`mpg models`: lists, shows, gets and removes models."""

from __future__ import annotations

import typer

from mpg_cli.cli.lazy_group import Lazy, command_group

# A command's module is imported when the command is called; the summary is its line in the help.
COMMANDS = {
    "list": Lazy(
        "mpg_cli.cli.commands.models_list:list_", "List the local models and the experts that fit each."
    ),
    "show": Lazy("mpg_cli.cli.commands.models_show:show", "Show one model in detail."),
    "get": Lazy("mpg_cli.cli.commands.models_get:get", "Download smollm2 or a model of the hub."),
    "remove": Lazy("mpg_cli.cli.commands.models_remove:remove", "Remove a downloaded model from the disk."),
}


def _list(ctx: typer.Context) -> None:
    """List the models if no command was named."""
    if ctx.invoked_subcommand is not None:
        return
    from typing import Any

    from mpg_cli.cli.option_table import sources

    root: Any = ctx.find_root().command
    defaults = sources().defaults(root, ["models", "list"]).by_command
    command = root.commands["models"].commands["list"]
    with command.make_context("list", [], parent=ctx, default_map=defaults["models"]["list"]) as context:
        command.invoke(context)


models = command_group(
    COMMANDS, _list, help="List, show, get and remove models.\n\nWithout a command it lists them."
)
