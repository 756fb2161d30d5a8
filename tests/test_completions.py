"""The scripts in completions/ are what the command prints, and what they call answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "completions"
SCRIPTS = {"bash": "mpg.bash", "zsh": "_mpg", "fish": "mpg.fish"}
START = "import sys; sys.argv[0] = 'mpg'; from mpg_cli.__main__ import main; main()"


def mpg(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", START, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    return done.stdout


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_up_to_date(shell: str) -> None:
    """Renew with: mpg --show-completion SHELL (with the variable below set) > completions/..."""
    printed = mpg("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (FOLDER / SCRIPTS[shell]).read_text() == printed.lstrip("\n")


def test_zsh_script_starts_with_its_header() -> None:
    assert (FOLDER / "_mpg").read_text().startswith("#compdef mpg\n")


def test_the_command_answers_a_completion() -> None:
    offered = mpg(_MPG_COMPLETE="complete_bash", COMP_WORDS="mpg generate --max", COMP_CWORD="2")
    assert offered.split() == ["--max-tokens"]
