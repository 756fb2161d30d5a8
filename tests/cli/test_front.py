"""The front answers as Typer does, to the letter, and loads nothing that is slow."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from manual import front as writer
from mpg_cli.cli import front
from tests.cli.shells import ROOT, START

TYPER = "import sys; sys.argv[0] = 'mpg'; from mpg_cli.cli.app import main; sys.exit(main())"
SLOW = ("typer", "click", "rich", "torch", "transformers")
LINES = [
    "",
    "gen",
    "e",
    "zzz",
    "-",
    "generate",
    "generate --",
    "generate -",
    "generate --max",
    "generate --format plain --ma",
    "generate --format plain --fo",
    "generate -p pirate --per",
    "generate --stats --st",
    "generate --no-stats --st",
    "generate -p ",
    "generate -p pir",
    "generate --persona INTJ+pi",
    "generate --persona INTJ+PI",
    "generate --persona INTJ++",
    "generate -p -",
    "generate --persona-dir personas -p pi",
    "generate --device c",
    "generate --unknown --max",
    "generate --max-tokens --se",
    "generate -- --se",
    "generate --max-tokens -- --se",
    "generate text --se",
    "generate -ppirate --se",
    "personas ",
    "personas sh",
    "personas -",
    "personas list --t",
    "personas show pi",
    "personas nothing --t",
    "eval mb",
    "eval mbti --",
    "config set rule e",
    "tune -p E --dra",
    "nothing --max",
]


def asked(program: str, **environment: str) -> tuple[str, int]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.stderr == ""
    return done.stdout, done.returncode


def shells(line: str) -> list[dict[str, str]]:
    """What each shell sets when TAB is pressed behind `mpg LINE`."""
    words = ["mpg", *line.split(" ")]
    typed = {"_TYPER_COMPLETE_ARGS": f"mpg {line}"}
    return [
        {
            "_MPG_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        {"_MPG_COMPLETE": "complete_zsh", **typed},
        {"_MPG_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **typed},
        {"_MPG_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "is-args", **typed},
    ]


def lines(said: str) -> list[str]:
    """In an order of their own: that of `-h` and `--help` is any, they come out of a set in Typer."""
    return sorted(said.removeprefix("_arguments '*: :((").removesuffix("))'\n").splitlines())


def test_what_it_answers_from_is_up_to_date() -> None:
    assert front.FILE.read_text(encoding="utf-8") == writer.written(), "python -m manual.build writes it"


@pytest.mark.parametrize("line", LINES)
def test_completes_as_typer_does(line: str) -> None:
    for environment in shells(line):
        (quick, code), (slow, expected) = asked(START, **environment), asked(TYPER, **environment)
        assert code == expected
        assert lines(quick) == lines(slow), environment["_MPG_COMPLETE"]


def test_most_lines_need_no_typer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the comparison above would compare Typer with itself."""
    quick = []
    for line in LINES:
        environment = shells(line)[1]
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            if front.answered([]) is not None:
                quick.append(line)
    assert len(quick) > len(LINES) / 2
    assert {"gen", "generate --max", "generate --persona INTJ+pi", "personas sh"} <= set(quick)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["--version"]])
@pytest.mark.parametrize("columns", ["59", "60", "80", " 104 ", "+120", "300"])
def test_says_what_typer_says(
    arguments: list[str], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpg_cli.cli.app import main

    monkeypatch.setenv("COLUMNS", columns)
    quick = front.answered(arguments)
    said = capsys.readouterr().out
    main(arguments)
    if columns == "59" and arguments != ["--version"]:
        assert quick is None
        assert said == ""
    else:
        assert quick == 0
        assert said == capsys.readouterr().out


def test_the_terminal_tells_its_width() -> None:
    """On a terminal of unknown width, as on a pipe, it is 80."""
    leader, follower = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-c", START, "--help"]
    subprocess.run(command, stdout=follower, env={**env, "PYTHONPATH": str(ROOT)}, check=True)
    shown = os.read(leader, 65536).decode().replace("\r\n", "\n")
    os.close(leader)
    os.close(follower)
    piped, _ = asked(START.replace("sys.argv[0] = 'mpg'", "sys.argv = ['mpg', '--help']"))
    assert shown == piped == asked(TYPER.replace("main()", "main(['--help'])"), COLUMNS="80")[0]


@pytest.mark.parametrize("line", ["gen", "generate --max", "generate -p pi"])
def test_loads_nothing_slow(line: str) -> None:
    told = "; print(*sys.modules, file=sys.stderr)"
    program = "import sys; from mpg_cli.cli.front import answered; answered([])" + told
    for environment in shells(line)[:3]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
        assert done.stdout
        assert not set(SLOW) & set(done.stderr.split())


def test_without_its_file_typer_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (None, "{", "[]", json.dumps({"overviews": 1})):
        file = tmp_path / "front.json"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(front, "FILE", file)
        assert front.answered(["--help"]) is None
    assert capsys.readouterr().out == ""


def test_a_full_disk_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", START, "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_nobody_listens(argument: str) -> None:
    """Neither a closed stdout nor a closed pipe is an error."""
    command = f'"{sys.executable}" -c "{START}" {argument}'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for line in (f"{command} >&-", f"{command} | true"):
        done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, env=env)
        assert (done.returncode, done.stderr) == (0, "")
