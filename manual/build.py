"""Build the pages docs/commands/NAME.md: handwritten text, then the usage text of the program.

    python -m manual.build

writes the output of `--help` below the mark of each page, and the index docs/commands/README.md; text above
a mark is kept. A command without a page gets a new one, whose upper part has to be written by hand.
tests/test_manual.py fails if a page is out of date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from mpg_cli.cli.app import COMMANDS, app

FOLDER = Path(__file__).parent.parent / "docs" / "commands"
MARK = "<!-- Below: written by `python -m manual.build`, do not edit. -->"
COLUMNS = "96"


def main() -> None:
    """Write every page that is out of date."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path)


def pages() -> dict[Path, str]:
    """The current text of every page, by file."""
    found = {FOLDER / f"{name}.md": _page(name) for name in COMMANDS}
    return {FOLDER / "README.md": _index(), **found}


def by_hand(name: str) -> str:
    """The handwritten part of a command's page; for a new page, title and summary."""
    path = FOLDER / f"{name}.md"
    if not path.is_file():
        return f"# mpg {name}\n\n{COMMANDS[name].summary}\n\n"
    return path.read_text(encoding="utf-8").split(MARK)[0]


def usages(name: str) -> dict[str, str]:
    """The help of `mpg NAME` and, for a group, of each of its commands, by command path."""
    with patch.dict(os.environ, COLUMNS=COLUMNS):
        root: Any = typer.main.get_command(app)
        with root.make_context("mpg", [], resilient_parsing=True) as context:
            return dict(_helps(root.commands[name], name, context))


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
        lines = context.command.get_help(context).splitlines()
        yield context.command_path, "\n".join(line.rstrip() for line in lines).strip()
        for below in getattr(command, "commands", {}):
            yield from _helps(command.commands[below], below, context)


def _page(name: str) -> str:
    parts = [f"{by_hand(name)}{MARK}\n\n## Usage\n"]
    for path, usage in usages(name).items():
        parts.append(f"```text\n$ {path} --help\n{usage}\n```\n")
    return "\n".join(parts)


def _index() -> str:
    rows = [f"| [mpg {name}]({name}.md) | {command.summary} |" for name, command in COMMANDS.items()]
    return "\n".join(["# Commands", "", MARK, "", "| command | |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    main()
