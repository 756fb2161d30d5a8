"""Commands load when they are called, and help lists them as ordinary commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from mpg_cli.cli import option_table
from mpg_cli.cli.app import COMMANDS, app
from mpg_cli.cli.lazy_group import _PlainReader
from mpg_cli.config.file import Config

ROOT = Path(__file__).parents[2]


def group() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_the_help_is_the_first_of_the_command(name: str) -> None:
    command = group().commands[name]
    assert command.get_short_help_str(200) == COMMANDS[name].summary
    assert command.name == name
    assert "-h" in command.context_settings["help_option_names"]


def test_help_names_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    from mpg_cli.cli.app import main

    main(["--help"])
    listed = capsys.readouterr().out.partition("Commands:\n")[2].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)


def loaded(argv: list[str], **environment: str) -> set[str]:
    """Modules of commands, and heavy ones, after `mpg` with these arguments."""
    code = (
        "import atexit, sys; sys.argv[0] = 'mpg'\n"
        "heavy = ('torch', 'transformers', 'numpy', 'pydantic', 'rich.console', 'huggingface_hub', "
        "'mpg_cli.personas.schema')\n"
        "mine = lambda m: m in heavy or m.startswith('mpg_cli.cli.commands.')\n"
        "atexit.register(lambda: print(*filter(mine, sys.modules), file=sys.stderr))\n"
        "from mpg_cli.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


def test_help_loads_no_command() -> None:
    assert loaded(["--help"]) == set()


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("mpg", "gen"), set()),
        (("mpg", "generate", "--max"), {"mpg_cli.cli.commands.generate"}),
        (("mpg", "generate", "-p", "INTJ:0.5+pir"), {"mpg_cli.cli.commands.generate"}),
        (("mpg", "generate", "--dtype", "b"), {"mpg_cli.cli.commands.generate"}),
        (("mpg", "personas", "show", "pir"), {"mpg_cli.cli.commands.personas"}),
    ],
    ids=str,
)
def test_completion_loads_what_it_needs(words: tuple[str, ...], own: set[str]) -> None:
    found = loaded(
        [], _MPG_COMPLETE="complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=str(len(words) - 1)
    )
    assert own <= found
    assert own or not found
    assert not found & {"torch", "transformers", "numpy", "pydantic", "rich.console"}
    if "-p" not in words and "show" not in words:
        assert "mpg_cli.personas.schema" not in found
    assert "mpg_cli.cli.commands.train" not in found


class Descriptor:
    """What Typer knows about a parameter."""

    def __init__(self, annotation: Any, **info: Any) -> None:
        self.annotation = annotation
        self.parameter_info = typer.models.OptionInfo(**info)


class Parameter:
    def __init__(self, *, multiple: bool = False) -> None:
        self.multiple, self.nargs = multiple, 1


def slow() -> Any:
    class Slow:
        def coerce(self, value: Any, param: Any, ctx: Any) -> str:
            return "slow"

    return Slow()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (str, "x", "x"),
        (int, "7", 7),
        (int, "-7", -7),
        (int, 7, 7),
        (float, "0.5", 0.5),
        (float, "-3", -3.0),
        (Path, "a/b", Path("a/b")),
        (list[str], ["a", "b"], ["a", "b"]),
        (list[Path], ("a",), [Path("a")]),
        (str, None, None),
        # what is not plain
        (int, "7.0", "slow"),
        (int, "x", "slow"),
        (int, True, "slow"),
        (float, "1e3", "slow"),
        (float, "1.2.3", "slow"),
        (float, "-", "slow"),
        (int, "٣", "slow"),
        (bool, "yes", "slow"),
        (list[str], "a", "slow"),
        (list[int], ["1", "x"], "slow"),
    ],
    ids=str,
)
def test_plain_values_are_read_at_once(kind: Any, value: Any, expected: Any) -> None:
    found = _PlainReader(Descriptor(kind), slow).coerce(value, Parameter(), None)
    assert (found, type(found)) == (expected, type(expected))


def test_conditions_are_for_typer() -> None:
    assert _PlainReader(Descriptor(int, min=1), slow).coerce("7", Parameter(), None) == "slow"
    assert _PlainReader(Descriptor(Path, exists=True), slow).coerce("x", Parameter(), None) == "slow"


def test_wrong_values_get_the_same_message(capsys: pytest.CaptureFixture[str]) -> None:
    from mpg_cli.cli.app import main

    assert main(["generate", "-p", "pirate", "--top-k", "many", "x"]) == 2
    assert "'--top-k': must be a valid integer" in capsys.readouterr().err
    assert main(["generate", "-p", "pirate", "--rule", "exakt", "x"]) == 2
    assert "unknown rule 'exakt' (choose from exact, threshold, block)" in capsys.readouterr().err


def defaults(argv: list[str], values: dict[str, Any] | None = None, **environ: str) -> Any:
    config = Config(Path("config.yaml"), values or {})
    return replace(option_table.sources(config), environ=environ).defaults(group(), argv)


def test_defaults_follow_the_command_that_is_called() -> None:
    found = defaults(["personas", "list", "x"], {"model": "a"}, MPG_FORMAT="json")
    assert found.by_command == {"personas": {"list": {"model": "a", "format": "json"}}}
    assert found.origins == {"--model": "config.yaml", "--format": "MPG_FORMAT"}
    assert defaults(["nothing"], {"model": "a"}).by_command == {}
    assert defaults([], {"model": "a"}).by_command == {}


@pytest.mark.parametrize(
    ("argv", "value", "kept"),
    [
        (["generate"], "live", True),
        (["generate"], "table", False),
        (["personas", "list"], "live", False),
        (["personas", "list"], "table", True),
        (["personas", "show"], "table", False),
        (["train"], "events", False),
        (["train"], "json", True),
        (["personas", "list"], "nonsense", True),  # the command says what is wrong with it
    ],
    ids=str,
)
def test_a_format_of_other_commands_is_invalid(argv: list[str], value: str, kept: bool) -> None:
    found = defaults(argv, {"format": value}).origins
    assert ("--format" in found) is kept


def test_lists_and_single_values_fit_what_the_command_has() -> None:
    many: Callable[[Any], Any] = lambda value: defaults(["generate"], {"persona": value}).by_command  # noqa: E731
    assert many("a") == many(["a"]) == {"generate": {"persona": ["a"]}}


def test_garbage_is_collected_while_a_command_runs() -> None:
    """It is not while modules load."""
    code = (
        "import gc, sys; from mpg_cli.personas import persona_file\n"
        "persona_file.options_to_find = lambda *_: [f'collecting={gc.isenabled()}']\n"
        "from mpg_cli.__main__ import main; sys.argv[1:] = ['personas', 'new', 'x']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "mpg: try: mpg generate -p x collecting=True '…'\n")
