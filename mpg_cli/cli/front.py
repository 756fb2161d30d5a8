"""Answers that need no command line parser: the overview, the version, and TAB behind plain words.

Typer's import alone takes longer than all of this. What is said stands in data/front.json, which
`python -m manual.build` writes from the commands as Typer has them; whatever is not plain (quotes, `=`,
weights, other shells, narrow terminals) is left to Typer.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpg_cli.cli.suggestions import Suggestion

FILE = Path(__file__).parents[1] / "data" / "front.json"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+./-")


def answered(argv: Sequence[str]) -> int | None:
    """The exit code, after an answer was written; None if Typer is to answer.

    Raises OSError where the answer cannot be written.
    """
    if sys.stdout is None:  # closed
        return None
    try:
        found = _answer(argv)
    except (OSError, ValueError, LookupError, TypeError):  # as if there were no front
        return None
    if found is None:
        return None
    text, code = found
    sys.stdout.write(text)
    sys.stdout.flush()
    return code


def _answer(argv: Sequence[str]) -> tuple[str, int] | None:
    """Text and exit code."""
    if "_MPG_COMPLETE" in os.environ:
        return _completed(os.environ)
    if list(argv) in ([], ["-h"], ["--help"]):
        return _overview()
    return _version() if list(argv) == ["--version"] else None


def _version() -> tuple[str, int]:
    from mpg_cli import __version__

    return f"mpg {__version__}\n", 0


def _overview() -> tuple[str, int] | None:
    columns = _columns()
    fitting = [shown["text"] for shown in _table()["overviews"] if shown["columns"] <= columns]
    return (fitting[-1], 0) if fitting else None


def _columns() -> int:
    """The width that Typer would take: COLUMNS, that of the terminal, or 80."""
    with contextlib.suppress(ValueError):
        given = int(os.environ.get("COLUMNS", ""))
        if given > 0:
            return given
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        return 80


def _completed(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """What the shell that asks is told, and the exit code."""
    shell = _SHELLS.get(environment["_MPG_COMPLETE"])
    words = _words(environment)
    if shell is None or words is None:
        return None
    found = _suggested(_table(), words[:-1], words[-1])
    return None if found is None else shell(found, environment)


def _words(environment: Mapping[str, str]) -> list[str] | None:
    """The words behind `mpg` up to the cursor, the last one unfinished; None if they are not plain."""
    if environment["_MPG_COMPLETE"] == "complete_bash":
        words = environment["COMP_WORDS"].split("\n")
        current = int(environment["COMP_CWORD"])
        words = [*words[:current], words[current] if current < len(words) else ""]
    else:
        words = environment["_TYPER_COMPLETE_ARGS"].split(" ")
        words = [*(word for word in words[:-1] if word), words[-1]]
    if len(words) < 2 or not all(words[:-1]) or not all(_PLAIN.issuperset(word) for word in words[1:]):
        return None
    return words[1:]


def _suggested(table: Any, words: Sequence[str], last: str) -> list[Suggestion] | None:
    """What may stand in the place of `last` behind these words; None if it takes Typer to tell."""
    if "--" in words:
        return None
    path, place = "", 0
    while path in table["commands"]:
        if place == len(words):
            known = table["commands"][path]
            return None if last.startswith("-") else [(n, h) for n, h in known if n.startswith(last)]
        path, place = f"{path} {words[place]}".strip(), place + 1
    options = table["options"].get(path)
    if options is None:
        return None
    by_name = {name: option for option in options for name in option["names"]}
    given: list[Any] = []
    waiting = None  # the option whose value comes next
    for word in words[place:]:
        if waiting is not None:
            waiting = None
        elif word in by_name:
            given.append(by_name[word])
            waiting = by_name[word] if by_name[word]["value"] else None
        elif word.startswith("-"):
            return None
    if waiting is not None:
        elsewhere = any("--persona-dir" in option["names"] for option in given)
        return None if elsewhere or not waiting["expression"] or last.startswith("-") else _personas(last)
    if not last.startswith("-"):
        return None
    free = [option for option in options if option["again"] or option not in given]
    return [(name, one["help"]) for one in free for name in one["names"] if name.startswith(last)]


def _personas(last: str) -> list[Suggestion]:
    from mpg_cli.cli.suggestions import expressions, fitting, persona_names

    return fitting(lambda: expressions(persona_names, last), last)


def _table() -> Any:
    import json

    return json.loads(FILE.read_text(encoding="utf-8"))


# -- as Typer's scripts in completions/ expect it ------------------------------------------------


def _bash(found: Sequence[Suggestion], environment: Mapping[str, str]) -> tuple[str, int]:
    return "".join(f"{value}\n" for value, _ in found), 0


def _zsh(found: Sequence[Suggestion], environment: Mapping[str, str]) -> tuple[str, int]:
    shown = [f'"{_escaped(v)}":"{_escaped(h)}"' if h else f'"{_escaped(v)}"' for v, h in found]
    return ("_arguments '*: :((" + "\n".join(shown) + "))'\n" if shown else "_files\n"), 0


def _escaped(text: str) -> str:
    for sign, instead in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", r"\\:")):
        text = text.replace(sign, instead)
    return text


def _fish(found: Sequence[Suggestion], environment: Mapping[str, str]) -> tuple[str, int] | None:
    action = environment.get("_TYPER_COMPLETE_FISH_ACTION")
    if action == "is-args":
        return "", 0 if found else 1
    if action == "get-args":
        return "".join(f"{v}\t{h}\n" if h else f"{v}\n" for v, h in found), 0
    return None


_SHELLS: dict[str, Callable[[Sequence[Suggestion], Mapping[str, str]], tuple[str, int] | None]] = {
    "complete_bash": _bash,
    "complete_zsh": _zsh,
    "complete_fish": _fish,
}
