"""`mpg config`: shows the settings of the config file and the environment, and edits the file."""

from __future__ import annotations

from mpg_cli.cli.lazy_group import Lazy, command_group

EPILOG = """\b
Examples:
  mpg config set model Qwen/Qwen3-0.6B
  mpg config set stop END "###"
  mpg config get model -v
  mpg config list --all
\b
A key is the long name of an option. Precedence: option, MPG_NAME in the environment, config file, default.
The variable of a repeatable option holds one value per line; token ids and biases may also be separated by
commas (MPG_LOGIT_BIAS=198:-5,50256:-100), folders by colons (MPG_PERSONA_DIR=mine:ours)."""

# A command's module is imported when the command is called; the summary is its line in the help.
COMMANDS = {
    "get": Lazy("mpg_cli.cli.commands.config_show:get", "Print the value of an option that commands use."),
    "set": Lazy("mpg_cli.cli.commands.config_set:set_", "Set an option in the config file.", dashes=True),
    "unset": Lazy("mpg_cli.cli.commands.config_set:unset", "Remove an option from the config file."),
    "list": Lazy(
        "mpg_cli.cli.commands.config_show:list_", "List the options set in the file and the environment."
    ),
    "path": Lazy("mpg_cli.cli.commands.config_set:path", "Print the path of the config file."),
}

app = command_group(COMMANDS, help="Show and change the defaults of options.", epilog=EPILOG)
