"""`mpg generate` from flags to its output, on the bundled model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from mpg_cli.config.named_models import BUNDLED_FOLDER
from tests.support.cli import Cli
from tests.support.steps import after_passes

SHORT = ("--max-tokens", "4")


def test_the_reply_goes_to_stdout_and_the_rest_to_stderr(cli: Cli) -> None:
    code, out, err = cli("generate", "-p", "pirate", *SHORT, "hello")
    assert code == 0
    assert out.strip()
    first, *rest = err.splitlines()
    assert first == "mpg: using mpg-tiny, a tiny demonstration model; for a real one: mpg models get smollm2"
    assert len(rest) == 1
    assert re.fullmatch(r"seed \d+", rest[0])


def test_several_samples(cli: Cli) -> None:
    code, out, err = cli("generate", "-p", "pirate", "-n", "2", *SHORT, "--stats", "--seed", "42", "hello")
    assert code == 0
    assert len(out.splitlines()) == 2
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("---")] == ["--- 0", "--- 1"]
    assert sum("seed 42" in line for line in lines) == 2


def test_quiet_leaves_stderr_empty_but_for_a_seed_that_was_drawn(cli: Cli) -> None:
    code, out, err = cli("generate", "-p", "pirate", "-q", *SHORT, "--seed", "42", "hello")
    assert (code, bool(out.strip()), err) == (0, True, "")
    code, out, err = cli("generate", "-p", "pirate", "-q", *SHORT, "hello")
    assert (code, bool(out.strip())) == (0, True)
    assert re.fullmatch(r"seed \d+\n", err)


def test_verbose_shows_details_even_on_a_pipe(cli: Cli) -> None:
    _, out, err = cli("generate", "-p", "pirate", "-v", "--drafter", "merged", *SHORT, "hello")
    assert out.strip()
    assert "by tokens accepted" in err


def test_json(cli: Cli) -> None:
    json_ = ("--format", "json")
    code, out, err = cli("generate", "-p", "pirate", "-n", "2", *json_, *SHORT, "--seed", "5", "hello")
    first, second = (json.loads(line) for line in out.splitlines())
    assert (code, first["sequence"], second["sequence"]) == (0, 0, 1)
    assert first["text"]
    assert first["seed"] == 5
    assert "seed 5" not in err


def test_events(cli: Cli) -> None:
    _, out, _ = cli("generate", "-p", "pirate", "--format", "events", *SHORT, "--drafter", "none", "hello")
    types = [json.loads(line)["type"] for line in out.splitlines()]
    assert [kind for kind in types if kind != "text"] == ["started", *["round"] * 4, "finished"]
    assert "text" in types


def test_output_takes_the_place_of_stdout(cli: Cli) -> None:
    Path("reply.txt").write_text("an older and longer reply")
    spoken = cli("generate", "-p", "pirate", *SHORT, "--seed", "42", "hello")[1]
    code, out, err = cli("generate", "-p", "pirate", *SHORT, "--seed", "42", "--output", "reply.txt", "hello")
    assert (code, out) == (0, "")
    assert Path("reply.txt").read_text() == spoken
    assert "seed 42" in err
    assert sorted(os.listdir()) == ["personas", "reply.txt"]


def test_a_dry_run_generates_nothing(cli: Cli) -> None:
    _, out, _ = cli("generate", "-p", "pirate", "--device", "cpu", "--dry-run", "hello")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    shown = {line[0]: line[1] for line in lines if not line[0].startswith("row")}
    assert shown["persona"] == "pirate"
    assert shown["model"] == "mpg-tiny"
    assert shown["device"].startswith("cpu (")
    assert shown["seed"] == "none"
    assert re.match(r"weights [\d.]+ MB, ", shown["memory"])
    assert "rows        row reference, kind base, prompt tokens " in out
    assert "            row pirate, kind prompt, weight 1.0, prompt tokens " in out
    drafter = ("--drafter", "merged")
    _, out, _ = cli("generate", "-p", "pirate", "--dry-run", *drafter, "--format", "json", "hello")
    described = json.loads(out)
    assert described["memory"]["weights_bytes"] > 1_000_000
    assert (described["rule"], described["drafter"], described["chunk_size"]) == ("exact", "merged", "auto")


def test_help_names_what_works(cli: Cli) -> None:
    code, out, _ = cli("generate", "--help")
    assert code == 0
    for flag in ("--persona", "--drafter", "--output", "--dry-run", "Examples:"):
        assert flag in out
    for flag in ("--candidates", "--ahead", "block", "lookup", "model:PATH"):
        assert flag in out


def test_a_dry_run_says_what_sampling_holds_and_who_set_it(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "config" / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("top-k: 7\ntop-p: 0.5\n")
    cli.monkeypatch.setenv("MPG_TOP_P", "0.25")
    dry = ("generate", "-p", "pirate", "--dry-run", "hello")
    _, out, _ = cli(*dry, "--temperature", "1", "--format", "json")
    described = json.loads(out)
    assert described["sampling_from"] == {
        "temperature": "option",
        "top_k": "config file",
        "top_p": "environment",
        "min_p": "generation_config.json",
        "expert_min_p": "default",
        "repetition_penalty": "default",
    }
    held = {name: described["sampling"][name] for name in described["sampling_from"]}
    assert held == {
        "temperature": 1,
        "top_k": 7,
        "top_p": 0.25,
        "min_p": 0.1,
        "expert_min_p": 0,
        "repetition_penalty": 1,
    }
    _, out, _ = cli(*dry, "--min-p", "0")
    [line] = [line for line in out.splitlines() if line.startswith("sampling")]
    assert line.split(maxsplit=1)[1] == "top-k 7 (config file), top-p 0.25 (environment), min-p 0 (option)"


def test_a_model_that_asks_for_greedy_decoding_gets_it_with_a_notice(cli: Cli, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "tiny"))
    (folder / "generation_config.json").write_text('{"do_sample": false, "top_p": 7, "eos_token_id": 1}')
    asked = ("generate", "-p", "pirate", "--model", str(folder), "--max-tokens", "12", "hello", "--seed")
    code, first, err = cli(*asked, "1")
    assert code == 0
    assert "says do_sample: false" in err
    assert "top_p 7 must be above 0 and at most 1, so it is ignored" in err
    assert cli(*asked, "2")[1] == first
    assert cli(*asked, "2", "--temperature", "5")[1] != first


@pytest.mark.parametrize("command", ["generate", "compare"])
def test_an_interruption_shows_all_replies_as_far_as_they_are(in_world: Cli, command: str) -> None:
    """All run together: those that were not shown yet have their texts too."""
    blends = ("-p", "bold", "-p", "calm", "-p", "terse")
    several = ("-p", "bold", "-n", "3") if command == "generate" else blends
    endless = ("--max-tokens", "100", "--logit-bias", "256:-100")
    argv = ("Hello", *several, *endless, "--drafter", "none", "--seed", "1", "--format", "json")

    def interrupt(number: int) -> None:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with after_passes(interrupt):
        code, out, _ = in_world(command, *argv)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 128 + signal.SIGINT
    assert [record["finish_reason"] for record in records] == ["interrupted"] * 3
    assert all(0 < len(record["token_ids"]) < 20 for record in records)
    _, out, _ = in_world(command, *argv)
    for record, whole in zip(records, map(json.loads, out.splitlines()), strict=True):
        assert record["token_ids"] == whole["token_ids"][: len(record["token_ids"])]
