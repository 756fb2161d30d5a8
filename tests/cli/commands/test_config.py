"""`mpg config`: the file's text stays the user's, and nothing is written that a command would refuse."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpg_cli.cli.option_table import keys
from mpg_cli.config.file import load_config
from mpg_cli.config.paths import config_file

Run = Callable[..., tuple[int, str, str]]

FILE = """\
# My settings.

model: mpg-tiny   # small
stop:
  - END   # the usual
  # and another
  - "###"

# Warmth.
temperature: 0.7  # warm
system: |
  Be kind.
  Be brief.
top-p: 0.9
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> tuple[int, str, str]:
        from mpg_cli.cli.app import main

        code = main(["config", *argv])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def file() -> Path:
    path = config_file()
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    "argv, old, new",
    [
        (("temperature", "1.2"), "temperature: 0.7  # warm", "temperature: 1.2  # warm"),
        (("model", "a/b"), "model: mpg-tiny   # small", "model: a/b   # small"),
        (("stop", "X"), 'stop:\n  - END   # the usual\n  # and another\n  - "###"\n', "stop: X\n"),
        (("stop", "X", "1, 2"), FILE[FILE.index("stop") : FILE.index("\n\n# Warmth")], 'stop: [X, "1, 2"]'),
        (("system", "Be odd."), "system: |\n  Be kind.\n  Be brief.\n", "system: Be odd.\n"),
        (("top-p", "0.95"), "top-p: 0.9\n", "top-p: 0.95\n"),
        (("stats", "false"), "top-p: 0.9\n", "top-p: 0.9\nstats: false\n"),
        (("presence-penalty", "-0.5"), "top-p: 0.9\n", "top-p: 0.9\npresence-penalty: -0.5\n"),
        (("scale", "-1e-2"), "top-p: 0.9\n", "top-p: 0.9\nscale: -0.01\n"),
        (("stop", "-x", "END"), FILE[FILE.index("stop") : FILE.index("\n\n# Warmth")], 'stop: ["-x", END]'),
        (("chunk-size", "8"), "top-p: 0.9\n", 'top-p: 0.9\nchunk-size: "8"\n'),
    ],
)
def test_set_changes_one_value_and_nothing_else(
    run: Run, file: Path, argv: tuple[str, ...], old: str, new: str
) -> None:
    assert run("set", *argv) == (0, "", "")
    assert file.read_text() == FILE.replace(old, new)
    load_config(keys())  # and it is right


@pytest.mark.parametrize(
    "key, gone",
    [
        ("temperature", "temperature: 0.7  # warm\n"),
        ("system", "system: |\n  Be kind.\n  Be brief.\n"),
        ("stop", 'stop:\n  - END   # the usual\n  # and another\n  - "###"\n'),
        ("top-p", "top-p: 0.9\n"),
    ],
)
def test_unset_takes_one_key_out(run: Run, file: Path, key: str, gone: str) -> None:
    assert run("unset", key) == (0, "", "")
    assert file.read_text() == FILE.replace(gone, "")
    code, out, err = run("unset", key)
    assert (code, out) == (1, "")
    assert f"{key} is not in" in err


def test_the_first_set_makes_the_file(run: Run) -> None:
    assert run("set", "max-tokens", "64") == (0, "", "")
    assert config_file().read_text() == "max-tokens: 64\n"
    assert run("unset", "max-tokens") == (0, "", "")
    assert load_config(keys()).values == {}


def test_a_link_stays_a_link_and_a_private_file_private(run: Run, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.yaml"
    file.rename(target)
    file.symlink_to(target)
    target.chmod(0o600)
    assert run("set", "top-k", "5")[0] == 0
    assert file.is_symlink()
    assert "top-k: 5" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600
    assert [f.name for f in target.parent.iterdir()] == ["dotfiles.yaml"]


@pytest.mark.parametrize(
    "argv, message",
    [
        (("tempreature", "1"), "tempreature: unknown option; did you mean temperature?"),
        (("temperature", "-1"), "temperature: -1 must be 0 or more"),
        (("--force", "1"), "--force: unknown option"),
        (("temperature", "hot"), "temperature: must be a number, not text"),
        (("temperature", "nan"), "temperature: nan must be 0 or more"),
        (("temperature", "inf"), "temperature: inf must be 0 or more"),
        (("max-tokens", "1.5"), "max-tokens: must be a whole number, not 1.5"),
        (("max-tokens", "1", "2"), "max-tokens takes one value, not 2"),
        (("top-p", "0"), "top-p: 0 must be above 0"),
        (("repetition-penalty", "0"), "repetition-penalty: 0 must be above 0"),
        (("chunk-size", "65"), "chunk-size: 65 must be between 0 and 64"),
        (("threshold", "2"), "threshold: '2' is not a threshold"),
        (("candidates", "1000"), "candidates: 1000 must be between 1 and 64"),
        (("seed", str(2**64)), "must be between 0 and 2^64 - 1"),
        (("stats", "maybe"), "stats: must be true or false"),
        (("rule", "exakt"), "rule: unknown rule 'exakt' (choose from exact, threshold, block)"),
        (("drafter", "merge"), "did you mean merged?"),
        (
            ("drafter", "persona:"),
            "drafter: 'persona:' names no persona\nhint: as in --drafter persona:pirate",
        ),
        (("drafter", "model: "), "drafter: 'model: ' names no model"),
        (("drafter", "persona"), "unknown drafter 'persona' (choose from auto"),
        (
            ("samples", "3"),
            "samples: is a command-line option only\nhint: give it as --samples, or in MPG_SAMPLES",
        ),
        (("persona", "INTJ++"), "a persona is missing before +"),
        (("template-arg", "x"), "is not KEY=VALUE"),
        (("model", ""), "model: is empty"),
    ],
)
def test_what_an_option_refuses_is_not_written(
    run: Run, file: Path, argv: tuple[str, ...], message: str
) -> None:
    code, out, err = run("set", *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\nhint:") <= 1
    assert "set by" not in err
    assert file.read_text() == FILE


def test_a_mistake_in_the_file_can_be_repaired(run: Run, file: Path) -> None:
    file.write_text("modle: x\ntemperature: hot\n")
    assert run("get", "model")[0] == 2
    assert run("set", "temperature", "1")[0] == 0
    assert run("unset", "modle")[0] == 0
    assert file.read_text() == "temperature: 1\n"


def test_a_layout_that_cannot_be_edited_is_left_alone(run: Run, file: Path) -> None:
    file.write_text("{top-p: 0.9, seed: 1}\n")
    assert run("set", "seed", "2")[0] == 0
    assert file.read_text() == "{top-p: 0.9, seed: 2}\n"
    code, _, err = run("set", "top-k", "5")
    assert code == 2
    assert "edit it by hand" in err
    assert file.read_text() == "{top-p: 0.9, seed: 2}\n"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_one_message(run: Run, file: Path) -> None:
    file.parent.chmod(0o500)
    code, _, err = run("set", "seed", "2")
    assert code == 2
    assert "cannot be written" in err


def test_get_prints_value_and_origin(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("get", "temperature") == (0, "0.7\n", "")
    assert run("get", "temperature", "-v") == (0, f"0.7  ({file})\n", "")
    assert run("get", "rule", "-v") == (0, "exact  (default)\n", "")
    monkeypatch.setenv("MPG_TEMPERATURE", "0.1")
    assert run("get", "temperature", "-v") == (0, "0.1  (MPG_TEMPERATURE)\n", "")
    assert run("get", "seed") == (1, "", "mpg: seed is not set (default: random, reported on stderr)\n")
    code, _, err = run("get", "max_tokens")
    assert code == 2
    assert "did you mean max-tokens?" in err


def test_setting_a_key_hidden_by_the_environment_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPG_SEED", "1")
    assert run("set", "seed", "2") == (0, "", "mpg: MPG_SEED is set and overrides the file\n")


def test_list_and_path(run: Run, file: Path) -> None:
    assert run("path") == (0, f"{file}\n", "")
    listed = run("list")[1].splitlines()
    assert "temperature: 0.7" in listed
    assert not any(line.startswith("rule") for line in listed)
    every = run("list", "--all", "-v")[1]
    assert "rule: exact  # default\n" in every
    assert "# seed: random, reported on stderr\n" in every
