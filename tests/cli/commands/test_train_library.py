"""`mpg train --library`: several personas by one command, what is done is kept, interruptions cost little."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.personas import persona_data
from tests.support.cli import Cli, refused
from tests.support.models import save_chat_model
from tests.support.preferences import quick_collections
from tests.support.steps import after_passes, before_steps

ROOT = Path(__file__).parents[3]
TINY = ("--library", "--model", "mpg-tiny", "--device", "cpu", "--persona-dir", "out")
SHORT = (
    *("--rank", "2", "--batch-size", "4", "--epochs", "0.075", "--max-length", "256"),
    *("--eval-split", "0.03"),
)
TWO = (*TINY, *SHORT, "--personas", "E,pirate")
BEYOND = (
    *TINY,
    *SHORT,
    "--contrast",
    "0.075",
    "--imitation",
    "0.075",
    "--epochs",
    "0",
    "--personas",
    "E,pirate",
)
FOLDER = Path("out/adapters/mpg-tiny")

pytestmark = pytest.mark.usefixtures("collections")


@pytest.fixture(scope="module")
def collections() -> Any:
    with quick_collections():
        yield


def library(mpg: Cli, *argv: str) -> tuple[dict[str, Any], str]:
    """The report of a run that must succeed, and stderr."""
    heard = () if "--heard" in argv else ("--heard", "0")
    code, out, err = mpg("train", *argv, *heard, "--format", "json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report, err


def weights(name: str, folder: Path = FOLDER) -> bytes:
    return (folder / name / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The adapters of an uninterrupted run."""
    from mpg_cli.cli.app import main

    folder = tmp_path_factory.mktemp("whole")
    argv = [*TWO, "--heard", "0", "-q"]
    argv[argv.index("out")] = str(folder)
    assert main(["train", *argv]) == 0
    return {name: weights(name, folder / "adapters/mpg-tiny") for name in ("E", "pirate")}


def test_a_blend_of_the_personas_works_at_once(mpg: Cli) -> None:
    report, err = library(mpg, *TWO, "--heard", "2")
    assert [one["persona"] for one in report["personas"]] == ["E", "pirate"]
    pole, character = report["personas"]
    assert (pole["rows"]["trained"], pole["rows"]["held_out"]) == (156, 4)  # neutral and opposite
    assert (character["rows"]["trained"], character["rows"]["held_out"]) == (78, 2)
    for one in report["personas"]:
        assert 0 <= one["held_out"]["accuracy"] <= 1
        assert (one["heard"]["prompts"], len(one["heard"]["examples"])) == (2, 2)
        assert "balanced accuracy" in one["heard"]["judge"]
    assert "mpg: E, 1 of 2\n" in err
    assert "E, 1 of 2: step 3/3: loss " in err
    assert "in out, E, pirate come before their namesakes" in err
    argv = ("-p", "E+pirate", "--persona-dir", "out", "--model", "mpg-tiny", "--max-tokens", "2")
    code, out, err = mpg("generate", *argv, "--format", "json", "Hello")
    assert code == 0, err
    assert {expert["name"]: expert["kind"] for expert in json.loads(out)["experts"]} == {
        "E": "adapter",
        "pirate": "adapter",
    }
    from mpg_cli.personas.schema import load_file

    (persona,) = load_file(Path("out/E.yaml"))
    assert (persona.license, persona.tags) == ("CC0-1.0", ("mbti", "pole"))
    assert persona.prompt is not None


def test_the_manifest_says_how_they_were_made(mpg: Cli, tmp_path: Path) -> None:
    from mpg_cli.personas.base import find_base

    report, _ = library(mpg, *TWO, "--seed", "3")
    text = Path(report["manifest"]).read_text()
    manifest = json.loads(text)
    assert (manifest["base"], list(manifest["personas"])) == ("mpg-tiny", ["E", "pirate"])
    entry = manifest["personas"]["pirate"]
    assert entry["library"] == persona_data.digest()
    assert entry["base_digest"] == find_base("mpg-tiny").digest
    assert (entry["plan"]["seed"], entry["plan"]["rank"], entry["plan"]["epochs"]) == (3, 2, 0.075)
    assert entry["plan"]["data"] != manifest["personas"]["E"]["plan"]["data"]
    assert entry["versions"].keys() == {"mpg", "torch", "transformers", "peft", "trl"}
    assert entry["threads"] >= 1
    assert entry["held_out"] == report["personas"][1]["held_out"]
    for place in (tmp_path, Path.home(), Path(sys.prefix)):
        assert str(place) not in text


def test_what_is_done_is_kept_and_what_differs_is_refused(mpg: Cli) -> None:
    library(mpg, *TWO)
    before = {name: weights(name) for name in ("E", "pirate")}
    argv = (*TINY, *SHORT, "--personas", "pirate,zen,E")
    report, err = library(mpg, *argv)
    assert "mpg: done already: pirate, E\n" in err
    assert "step 2/2" in err
    assert [one["persona"] for one in report["personas"]] == ["pirate", "zen", "E"]
    assert {name: weights(name) for name in before} == before
    Path("out/zen.yaml").unlink()
    _, err = library(mpg, *argv)
    assert "step" not in err
    assert "path: adapters/mpg-tiny/zen" in Path("out/zen.yaml").read_text()

    other = [*TWO, "--heard", "0"]
    other[other.index("--rank") + 1] = "3"
    assert (
        "E has an adapter for mpg-tiny that this command would not make: rank was 2 and is 3, "
        "alpha was 4 and is 6; likewise pirate\n"
    ) in refused(mpg, *other)
    code, _, err = mpg("train", *other, "--force")
    assert code == 0
    assert weights("E") != before["E"]
    code, _, err = mpg("train", *other, "--force")
    assert "done already: E, pirate" in err


def test_a_replaced_adapter_is_not_taken_for_done(mpg: Cli) -> None:
    library(mpg, *TWO)
    file = FOLDER / "E" / "adapter_model.safetensors"
    file.write_bytes((content := file.read_bytes())[:-1] + bytes([content[-1] ^ 1]))
    err = refused(mpg, *TWO)
    assert "this command would not make: its file was changed, or the weights of the base\n" in err


def test_an_adapter_that_was_deleted_is_trained_again(mpg: Cli) -> None:
    library(mpg, *TWO)
    before = weights("E")
    shutil.rmtree(FOLDER / "E")
    _, err = library(mpg, *TWO)
    assert "done already: pirate" in err
    assert weights("E") == before


def test_the_company_of_a_persona_does_not_change_its_adapter(mpg: Cli, whole: dict[str, bytes]) -> None:
    library(mpg, *TINY, *SHORT, "--personas", "pirate")
    assert weights("pirate") == whole["pirate"]


@pytest.mark.parametrize(
    ("number", "code", "step", "place", "done"),
    [
        (signal.SIGINT, 130, 2, "step 2", 0),
        (signal.SIGTERM, 143, 3, "step 3", 0),
        (signal.SIGINT, 130, 4, "step 1", 1),
    ],
    ids=["in", "end", "next"],
)
def test_an_interrupted_library_goes_on_by_the_same_command(
    mpg: Cli, whole: dict[str, bytes], number: signal.Signals, code: int, step: int, place: str, done: int
) -> None:
    with before_steps(lambda now: os.kill(os.getpid(), number) if now == step else None):
        found, out, err = mpg("train", *TWO, "--heard", "0")
    assert (found, out) == (code, "")
    assert err.endswith(
        f"mpg: stopped; {place} is kept, and the same command resumes from there\n"
        f"mpg: {done} of 2 personas are done, and the same command goes on\n"
    )
    _, err = library(mpg, *TWO)
    assert f"resuming at {place}\n" in err
    assert ("done already: E" in err) is (done == 1)
    assert {name: weights(name) for name in whole} == whole
    assert sorted(path.name for path in FOLDER.iterdir()) == ["E", "manifest.json", "pirate"]


def test_an_interruption_between_two_personas(
    mpg: Cli, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes when the manifest has just been written, and the run's folder is still there."""
    fsync = os.fsync

    def interrupt(descriptor: int) -> None:
        fsync(descriptor)
        if (FOLDER / "manifest.json").exists():
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        code, _, err = mpg("train", *TWO, "--heard", "0")
    assert code == 130
    assert err.endswith("personas are done, and the same command goes on\n")
    _, err = library(mpg, *TWO)
    assert "done already: E" in err
    assert {name: weights(name) for name in whole} == whole
    assert sorted(path.name for path in FOLDER.iterdir()) == ["E", "manifest.json", "pirate"]


def test_an_interruption_while_listening_keeps_the_adapters(mpg: Cli) -> None:
    library(mpg, *TWO)
    with after_passes(lambda now: os.kill(os.getpid(), signal.SIGINT) if now == 30 else None):
        code, out, err = mpg("train", *TWO, "--heard", "2")
    assert (code, out) == (130, "")
    assert err.endswith("mpg: 2 of 2 personas are done, and the same command goes on\n")
    code, out, err = mpg("train", *TWO, "--heard", "2")
    assert code == 0
    assert "step" not in err
    table = out.splitlines()
    assert table[0].split() == ["persona", "rows", "steps", "accuracy", "margin", "heard"]
    assert table[1].split()[:3] == ["E", "156", "3"]
    assert "→" in table[2]
    assert table[-1] == "try it: mpg generate --persona E+pirate --persona-dir out --model mpg-tiny '…'"
    _, _, err = mpg("train", *TWO, "--heard", "2")
    assert "listening" not in err


def test_a_folder_whose_files_hold_several_personas(mpg: Cli) -> None:
    shutil.copytree(ROOT / "personas", "out", ignore=shutil.ignore_patterns("adapters", "data"))
    model = save_chat_model(Path("tiny-one"), max_position_embeddings=256)
    argv = [*TWO, "--heard", "0"]
    argv[argv.index("mpg-tiny")] = str(model)
    before = Path("out/poles.yaml").read_text()
    library(mpg, *argv)
    from mpg_cli.personas.schema import load_file

    poles = {persona.name: persona for persona in load_file(Path("out/poles.yaml"))}
    theirs = ["HuggingFaceTB/SmolLM2-135M-Instruct", "mpg-tiny"]
    assert [entry.base for entry in poles["E"].adapters] == ["tiny-one", *theirs]
    assert [entry.base for entry in poles["I"].adapters] == theirs
    assert not Path("out/E.yaml").exists()
    added = [
        line for line in Path("out/poles.yaml").read_text().splitlines() if line not in before.splitlines()
    ]
    assert len(added) == 3


@pytest.mark.parametrize("at", [1, 2, 3], ids=["in", "end", "next"])
def test_the_neutral_replies_are_imitated_once_for_all(mpg: Cli, at: int) -> None:
    """After an interruption there and in the persona that follows, too: the adapters are those of one run."""
    library(mpg, *BEYOND)
    whole = {name: weights(name) for name in ("E", "pirate")}
    shutil.rmtree("out")
    with before_steps(lambda now: os.kill(os.getpid(), signal.SIGINT) if now == at else None):
        code, _, err = mpg("train", *BEYOND, "--heard", "0")
    assert code == 130
    assert err.endswith("mpg: 0 of 2 personas are done, and the same command goes on\n")
    _, err = library(mpg, *BEYOND)
    assert ("imitating the rejected replies" in err) == (at == 1)
    assert {name: weights(name) for name in whole} == whole
    neutral = {path.name for path in (FOLDER / ".neutral").rglob("*") if path.is_file()}
    assert neutral == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "trainer_state.json",
        "run.json",
        "lock",
    }
    _, err = library(mpg, *BEYOND[:-1], "zen")
    assert "imitating the rejected replies" not in err
    assert "imitating the chosen replies" in err


def test_a_pole_like_the_neutral_replies_is_contrasted_with_its_opposite(
    mpg: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, err = library(mpg, *BEYOND[:-1], "zen,S")
    assert [
        line.removeprefix("mpg: ")
        for line in err.splitlines()
        if ("replies" in line or " of 2" in line) and "step" not in line and "rate" not in line
    ] == [
        "the neutral replies",
        "imitating the rejected replies",
        "zen, 1 of 2",
        "imitating the chosen replies",
        "the replies of N",
        "imitating the rejected replies",
        "S, 2 of 2",
        "imitating the chosen replies",
    ]
    manifest = json.loads(Path(report["manifest"]).read_text())["personas"]
    assert [manifest[name]["plan"]["against"] for name in ("zen", "S")] == ["neutral", "N"]
    before = {name: weights(name) for name in ("zen", "S")}
    monkeypatch.setattr(persona_data, "CONTRASTS", {})
    argv = (*BEYOND[:-1], "zen,S", "--heard", "0")
    assert "S has an adapter for mpg-tiny that this command would not make: against was N and is neutral" in (
        refused(mpg, *argv)
    )
    _, err = library(mpg, *argv, "--force")
    assert "done already: zen" in err
    assert weights("zen") == before["zen"]
    assert weights("S") != before["S"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt2"])
def test_other_architectures_in_all_phases(mpg: Cli, architecture: str) -> None:
    model = save_chat_model(Path(f"tiny-{architecture}"), architecture, max_position_embeddings=256)
    argv = [*TINY, *SHORT, "--personas", "T,zen", "--contrast", "0.075", "--imitation", "0.075"]
    argv[argv.index("mpg-tiny")] = str(model)
    report, err = library(mpg, *argv, "--heard", "1")
    assert err.count("mpg: imitating the rejected replies\n") == 1
    assert err.count("mpg: imitating the chosen replies\n") == 2
    assert err.count("mpg: training the preference\n") == 2
    assert [one["steps"] for one in report["personas"]] == [2 + 3, 2 + 2]
    assert all(one["heard"]["prompts"] == 1 for one in report["personas"])
    code, out, err = mpg(
        *("generate", "-p", "T+zen", "--persona-dir", "out", "--model", model, "--device", "cpu"),
        *("--max-tokens", "2", "--format", "json", "Hello"),
    )
    assert code == 0, err
    assert [expert["kind"] for expert in json.loads(out)["experts"]] == ["adapter", "adapter"]


def test_imitation_alone_is_judged_by_the_neutral_replies(mpg: Cli) -> None:
    report, _ = library(mpg, *TINY, *SHORT, "--personas", "robot", "--sft", "--heard", "1")
    (one,) = report["personas"]
    assert one["held_out"]["accuracy"] is not None
    assert "reward_margin" not in one["held_out"]
    assert "balanced accuracy" in one["heard"]["judge"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--library", "--personas", "E,pirat"), "no persona data of 'pirat'; did you mean pirate"),
        (("--library", "--personas", "\x1b[2J"), "no persona data of '\\x1b[2J'"),
        (
            ("grump", "--library"),
            "NAME conflicts with --library, whose personas have their own\nhint: choose",
        ),
        (("--library", "--personas", ","), "--personas names none"),
        (("--library", "--data", "prefs.jsonl"), "--data conflicts with --library"),
        (("--library", "--prompt", "Be calm."), "--prompt conflicts with --library"),
        (("--personas", "E"), "--personas belongs to --library"),
        (("--data", "prefs.jsonl"), "missing argument 'NAME'"),
        ((), "missing argument 'NAME'"),
    ],
)
def test_wrong_usage_is_refused_before_anything_loads(
    mpg: Cli, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "mpg_cli.training.base_model", None)
    assert message in refused(mpg, *argv)


def test_a_damaged_manifest_is_an_error(mpg: Cli) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "manifest.json").write_text("{")
    assert "manifest.json is not a manifest of mpg train" in refused(mpg, *TWO)


def test_names_go_by_any_case_and_once(mpg: Cli) -> None:
    from mpg_cli.training.library import chosen_names

    assert chosen_names(("e", "PIRATE", "E")) == ("E", "pirate")
    assert chosen_names(()) == persona_data.NAMES


def test_a_persona_that_is_not_heard_is_a_warning_with_what_to_change(mpg: Cli, model: Path) -> None:
    """The judge is trained on the data of the run; the replies are printed."""
    argv = ("--model", model, "--device", "cpu", "--data", "prefs.jsonl", "--learning-rate", "1e-6")
    code, out, err = mpg("train", "grump", *argv, "--epochs", "1")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[4] == (
        "heard in 0% of 2 replies, in 0% without the adapter "
        "(a classifier of words trained on 2 replies of the data)"
    )
    assert lines[5].startswith("  > say ")
    assert lines[-1].startswith("try it: ")
    assert "mpg: the persona is not heard: 0% of the replies show it, 0% without the adapter; try " in err
