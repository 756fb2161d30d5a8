"""`mpg tune` from the command line, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Cli


def test_tune_and_generate_by_what_it_found(in_world: Cli, tmp_path: Path) -> None:
    plot = tmp_path / "speed.svg"
    options = ["--seconds", "0.5", "--drafter", "merged", "--drafter", "lookup", "--format", "json"]
    code, out, err = in_world("tune", "-p", "bold+calm", *options, "--plot", str(plot))
    assert code == 0, err
    found = json.loads(out)
    assert Path(found["profile"]).exists()
    assert found["fastest"] == found["choices"][found["best"]]
    assert plot.read_text().startswith("<?xml")
    code, out, err = in_world("generate", "-p", "bold+calm", "Hello", "--max-tokens", "4", "--format", "json")
    assert code == 0, err
    reply, fastest = json.loads(out), found["fastest"]
    assert (reply["drafter"], reply["chunk_size"]) == (fastest["drafter"], fastest["chunk_size"])


def test_the_table_names_every_drafter_and_the_next_command(in_world: Cli, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\n\nWhat now?\n")
    code, out, err = in_world("tune", "-p", "bold", "--seconds", "0.3", "--prompts", str(prompts))
    assert code == 0, err
    for word in ("merged", "reference", "persona:bold", "lookup", "none", "used from now on"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 140


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-p", "bold", "--seconds", "0"], "--seconds 0 must be above 0 and at most 3600"),
        (["-p", "bold", "--max-bias", "-1"], "--max-bias -1 must be 0 or more"),
        (["-p", "bold", "--plot", "x.txt"], "--plot x.txt has an unknown format"),
        (["-p", "bold", "--plot", "nowhere/x.svg"], "the folder nowhere does not exist"),
        (["-p", "bold", "--drafter", "persona:calm"], "is not in the blend"),
        (["-p", "bold", "--drafter", "auto"], "--drafter auto cannot be tuned"),
        (
            ["-p", "bold", "--rule", "threshold", "--drafter", "lookup"],
            "cannot be used with --rule",
        ),
        (["-p", "bold", "--threshold", "0.9"], "--threshold belongs to --rule threshold"),
        (["-p", "bold", "--prompts", "nowhere.txt"], "--prompts nowhere.txt cannot be read"),
        (["--seconds", "1"], "a persona is missing"),
    ],
)
def test_wrong_usage(in_world: Cli, argv: list[str], message: str) -> None:
    code, out, err = in_world("tune", *argv)
    assert (code, out) == (2, "")
    assert message in err


def test_a_drafter_of_the_config_file_is_the_one_that_is_tried(in_world: Cli) -> None:
    from mpg_cli.config.paths import config_file

    config_file().parent.mkdir(parents=True)
    config_file().write_text("drafter: reference\n")
    code, out, err = in_world("tune", "-p", "bold", "--seconds", "0.2", "--format", "json")
    assert code == 0, err
    assert {choice["drafter"] for choice in json.loads(out)["choices"]} == {"none", "reference"}
