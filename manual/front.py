"""What mpg_cli/cli/front.py answers from: the overview, the commands and their options, as Typer has them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import typer

from mpg_cli.cli.app import app

WIDEST = 200  # columns; more than help is ever given
NARROWEST = 60


def written() -> str:
    """The file data/front.json."""
    root: Any = typer.main.get_command(app)
    commands: dict[str, list[list[str]]] = {}
    options: dict[str, list[dict[str, Any]]] = {}
    with root.make_context("mpg", [], resilient_parsing=True) as context:
        for path, command, own in _all(root, "", context):
            if hasattr(command, "commands"):
                commands[path] = [[item.value, item.help or ""] for item in command.shell_complete(own, "")]
            else:
                options[path] = [_option(p) for p in command.get_params(own) if _is_shown(p)]
    front = {"overviews": _overviews(root), "commands": commands, "options": options}
    return json.dumps(front, indent=1, ensure_ascii=False) + "\n"


def _all(command: Any, path: str, context: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every command with its path and context, groups before what is in them."""
    yield path, command, context
    for name in getattr(command, "commands", {}):
        below = command.commands[name]
        with below.make_context(name, [], parent=context, resilient_parsing=True) as own:
            yield from _all(below, f"{path} {name}".strip(), own)


def _is_shown(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not parameter.hidden


def _option(option: Any) -> dict[str, Any]:
    value = not (option.is_flag or option.count)
    completer = getattr(option, "_custom_shell_complete", None)
    names = [*option.opts, *option.secondary_opts]
    return {
        "names": sorted(names) if option.name == "help" else names,  # those come out of a set
        "help": option.help or "",
        "again": bool(option.multiple),
        "value": value,
        "expression": value and completer is not None and _is_expression(option),
    }


def _is_expression(option: Any) -> bool:
    """Whether TAB behind the option names personas, as those of an expression do."""
    with typer.main.get_command(app).make_context("mpg", [], resilient_parsing=True) as context:
        return "INTJ+pirate" in [item.value for item in option.shell_complete(context, "INTJ+pi")]


def _overviews(root: Any) -> list[dict[str, Any]]:
    """The texts of `mpg --help`, each with the fewest columns for which it is written, narrow ones first."""
    found: list[dict[str, Any]] = []
    for columns in range(NARROWEST, WIDEST + 1):
        text = _help(root, columns) + "\n"
        if not found or found[-1]["text"] != text:
            found.append({"columns": columns, "text": text})
    return found


def _help(root: Any, columns: int) -> str:
    with (
        patch.dict(os.environ, COLUMNS=str(columns)),
        root.make_context("mpg", [], resilient_parsing=True) as context,
    ):
        return str(context.get_help())
