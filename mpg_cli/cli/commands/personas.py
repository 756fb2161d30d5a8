"""`mpg personas`: lists, shows, checks, creates and imports personas."""

from __future__ import annotations

from mpg_cli.cli.lazy_group import Lazy, command_group

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

personas = command_group(COMMANDS, help="List, check, create and import personas.")
