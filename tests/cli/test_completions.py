"""Completion: the scripts in completions/ are what the command prints, and real shells get answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpg_cli.cli.completion import joined
from tests.cli.shells import ROOT, SCRIPTS, START, Shell
from tests.support.ollama import pulled

FOLDER = ROOT / "completions"
HOSTILE = r"""
name: corsair
description: 'An \$(touch owned) `touch owned` "; touch owned; '' \'' $(touch owned) [red]&<b>: %s'
prompt: You are hostile.
tags: ["$(touch owned)", "plain"]
"""


def mpg(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    command = [sys.executable, "-c", START, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd)
    assert done.stderr == ""
    return done.stdout


def bash(*words: str, cwd: Path | None = None) -> list[str]:
    """What is offered for the last of these words, broken as bash breaks them."""
    current = str(len(words) - 1)
    return mpg(
        _MPG_COMPLETE="complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=current, cwd=cwd
    ).splitlines()


# -- the scripts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_up_to_date(shell: str) -> None:
    """Renew with: mpg --show-completion SHELL (with the variable below set) > completions/..."""
    printed = mpg("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (FOLDER / SCRIPTS[shell]).read_text() == printed.lstrip("\n")


def test_zsh_script_starts_with_its_header() -> None:
    assert (FOLDER / "_mpg").read_text().startswith("#compdef mpg\n")


# -- what is offered -----------------------------------------------------------------------------


def test_option_names() -> None:
    assert bash("mpg", "generate", "--max") == ["--max-tokens"]


@pytest.mark.parametrize(
    "words, offered",
    [
        ("-p pir", ["pirate"]),
        ("-p INTJ+pi", ["INTJ+pirate"]),
        ("-p INTJ : 0.7+pi", ["0.7+pirate"]),
        ("-p INTJ : -.5+E+pi", ["-.5+E+pirate"]),
        ("-p intj+PIR", ["intj+PIRate"]),
        ("--persona = INTJ : 0.5+pi", ["0.5+pirate"]),
        ("--persona = pi", ["pirate"]),
        ("-p INTJ : 0.7", []),
        ("-p INTJ : +", []),
        ("-p $(id)+pi", []),
        ("-p pirate --drafter persona : ", ["pirate"]),
        ("-p INTJ+pirate --drafter persona :", ["pirate", "I", "N", "T", "J"]),
        ("-p nobody --drafter persona : bar", ["bard"]),
        ("--drafter m", ["merged", "model:mpg-tiny"]),
        ("--rule ", ["exact", "threshold", "block"]),
        ("--target m", ["mixture", "merged"]),
        ("--format ", ["auto", "live", "plain", "json", "events"]),
        ("--dtype b", ["bfloat16"]),
        ("--device c", ["cpu", "cuda"]),
        ("--chunk-size a", ["auto"]),
        ("--adapter ", []),  # files, which are the shell's business
    ],
)
def test_values(words: str, offered: list[str]) -> None:
    assert bash("mpg", "generate", *words.split(" ")) == offered


@pytest.mark.parametrize(
    "words, offered",
    [
        ("doc", ["doctor"]),
        ("models sh", ["show"]),
        ("models show m", ["mpg-tiny"]),
        ("models get ", ["smollm2"]),
        ("models remove ", []),
        ("generate --model a", ["auto"]),
        ("personas show pi", ["pirate"]),
        ("personas list --tag m", ["mbti"]),
        ("tune --drafter mer", ["merged"]),
        ("tune --drafter au", []),
        ("generate --drafter au", ["auto"]),
        ("config un", ["unset"]),
        ("config get temp", ["template-arg", "temperature"]),
        ("config set rule ", ["exact", "threshold", "block"]),
        ("config set stats t", ["true"]),
        ("config set persona INTJ+pir", ["INTJ+pirate"]),
        ("config set seed ", []),
    ],
)
def test_every_command(words: str, offered: list[str]) -> None:
    assert bash("mpg", *words.split(" ")) == offered


def test_personas_come_from_the_folders_of_the_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: zebra\nprompt: You are striped.\n")
    (tmp_path / "broken.yaml").write_text("name: zany\nprompt: [\n")
    assert bash("mpg", "generate", "-p", "ze") == ["zen"]
    assert bash("mpg", "generate", "--persona-dir", str(tmp_path), "-p", "z") == ["zebra", "zen"]
    assert bash("mpg", "generate", "--persona-dir", str(tmp_path / "no"), "-p", "z") == []


def test_models_are_the_bundled_one_and_those_in_the_cache(tmp_path: Path) -> None:
    for name, file in [("models--org--small", "config.json"), ("models--org--half", "README.md")]:
        snapshot = tmp_path / "hub" / name / "snapshots" / "0a"
        snapshot.mkdir(parents=True)
        (snapshot / file).write_text("{}")
    cache = {"HF_HUB_CACHE": str(tmp_path / "hub"), "COMP_CWORD": "3"}
    words = cache | {"COMP_WORDS": "mpg\ngenerate\n--model\n"}
    assert mpg(_MPG_COMPLETE="complete_bash", **words).split() == ["mpg-tiny", "org/small", "auto"]
    words = cache | {"COMP_WORDS": "mpg\nmodels\nremove\n"}
    assert mpg(_MPG_COMPLETE="complete_bash", **words).split() == ["org/half", "org/small"]


def test_models_of_ollama_are_offered(tmp_path: Path) -> None:
    pulled(tmp_path, "library/qwen3/0.6b", [("model", b"GGUF")])
    words = {"COMP_WORDS": "mpg\ngenerate\n--model\nolla", "COMP_CWORD": "3", "OLLAMA_MODELS": str(tmp_path)}
    assert mpg(_MPG_COMPLETE="complete_bash", **words).split() == ["ollama:qwen3:0.6b"]


@pytest.mark.parametrize(
    "words, whole, done",
    [
        (["a", "b"], ["a", "b"], ""),
        (["a", "b", ":", "c"], ["a", "b:c"], "b:"),
        (["a", "b", ":"], ["a", "b:"], "b:"),
        (["a", "b", ":", "c", "d"], ["a", "b:c", "d"], ""),
        (["a", "b", ":", "c", ""], ["a", "b:c", ""], ""),
        (["a", "--b", "=", "c", ":", "d"], ["a", "--b=c:d"], "c:"),
        (["a", "b", "::", "c", ":", ""], ["a", "b::c:"], "b::c:"),
    ],
)
def test_words_that_bash_broke(words: list[str], whole: list[str], done: str) -> None:
    assert joined(words) == (whole, done)


@pytest.mark.parametrize("words", ["mpg generate -p INTJ+", "mpg generate --model ", "mpg "])
def test_nothing_heavy_is_loaded(words: str) -> None:
    code = (
        "import atexit, sys; sys.argv[0] = 'mpg'\n"
        "heavy = ('torch', 'transformers', 'rich', 'numpy')\n"
        "atexit.register(lambda: print([n for n in heavy if sys.modules.get(n)], file=sys.stderr))\n"
        "from mpg_cli.__main__ import main; main()"
    )
    env = {**os.environ, "_MPG_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.stderr == "[]\n"
    assert done.stdout.startswith("_arguments")


# -- in real shells ------------------------------------------------------------------------------


@pytest.fixture(params=SCRIPTS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    started = Shell(name, tmp_path)
    yield started
    started.close()


def test_a_shell_completes(shell: Shell) -> None:
    """The first TAB of a session included."""
    for typed, added, argv in [
        ("-p INTJ:0.7+pi", "rate", ["-p", "INTJ:0.7+pirate"]),
        ("-p gran", "dmother", ["-p", "grandmother"]),
        ('-p "INTJ + scient', "ist", ["-p", "INTJ + scientist"]),
        ("--persona=INTJ:-0.5+dip", "lomat", ["--persona=INTJ:-0.5+diplomat"]),
        ("-p INTJ+bard --drafter persona:b", "ard", ["-p", "INTJ+bard", "--drafter", "persona:bard"]),
        ("--max-t", "okens", ["--max-tokens"]),
        ("--rule thresh", "old", ["--rule", "threshold"]),
        ("--prompt-file bin/mp", "g", ["--prompt-file", "bin/mpg"]),
    ]:
        shell.press_tab(f"mpg generate {typed}", added)
        assert shell.run() == ["generate", *argv], typed


def test_a_shell_lists_what_there_is_and_runs_nothing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "mine.yaml").write_text(HOSTILE)
    names = [f"2+{name}" for name in ("child", "coach", "corsair")]
    shown = shell.press_tab("mpg generate -p INTJ:2+c", *names, times=2 if shell.name == "bash" else 1)
    assert all(name in shown for name in names)
    shell.press_tab("mpg generate -p cor", "sair")
    assert shell.run() == ["generate", "-p", "corsair"]
    assert not (tmp_path / "owned").exists()
