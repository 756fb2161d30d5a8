"""`--model auto`: what it chooses, what is recorded, and runs that go on after smollm2 has been fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.config.named_models import SMOLLM2_REPO
from mpg_cli.options.model import ModelOptions
from tests.support.cli import QUICK, Cli
from tests.support.hub import snapshot, use_cache

COMMIT = "0a" * 20
SHORT = ("-p", "calmly", "--max-tokens", "4", "--device", "cpu")
Fetch = Callable[[], None]


@pytest.fixture
def fetch(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Puts a tiny model in the place of smollm2."""
    cache = use_cache(tmp_path / "hub", monkeypatch)

    def call() -> None:
        snapshot(cache, SMOLLM2_REPO, COMMIT, model)

    return call


@pytest.fixture
def own(mpg: Cli, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`mpg` in a folder with a persona and two questions."""
    Path("calm.yaml").write_text("name: calmly\nprompt: Be calm.\n")
    Path("in.txt").write_text("one\ntwo\n")
    monkeypatch.setenv("MPG_PERSONA_DIR", ".")
    return mpg


def record(mpg: Cli, *argv: str) -> tuple[dict[str, Any], str]:
    code, out, err = mpg("generate", *SHORT, "--seed", "1", "--format", "json", *argv, "hello")
    assert code == 0, err
    return json.loads(out), err


def test_records_name_the_model_and_its_revision(own: Cli, fetch: Fetch) -> None:
    found, err = record(own)
    assert (found["model"], found["revision"]) == ("mpg-tiny", None)
    assert err.startswith("mpg: using mpg-tiny, a tiny demonstration model; for a real one: mpg models get")
    fetch()
    found, err = record(own)
    assert (found["model"], found["revision"]) == ("smollm2", COMMIT)
    assert err.splitlines()[0] == "mpg: using smollm2; choose another model with --model"
    again, err = record(own, "--model", "smollm2", "--revision", COMMIT)
    assert (again["text"], again["revision"]) == (found["text"], COMMIT)
    assert "using" not in err
    assert record(own, "--model", "mpg-tiny")[0]["model"] == "mpg-tiny"


def test_flag_before_environment_before_config_before_smollm2(
    own: Cli, fetch: Fetch, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch()
    assert own.request(*SHORT, "hello").model.name == "smollm2"
    assert own("config", "set", "model", "mpg-tiny")[0] == 0
    assert own.request(*SHORT, "hello").model.name == "mpg-tiny"
    monkeypatch.setenv("MPG_MODEL", str(model))
    assert own.request(*SHORT, "hello").model.name == str(model)
    assert own.request(*SHORT, "--model", "auto", "hello").model.name == "smollm2"


def test_smollm2_before_it_is_fetched(own: Cli) -> None:
    for command in ("generate", "explain"):
        code, out, err = own(command, *SHORT, "--model", "smollm2", "hello")
        assert (code, out) == (2, "")
        assert err == "mpg: error: smollm2 is not on this disk\nhint: get it: mpg models get smollm2\n"
    code, out, _ = own("doctor", "--no-self-check", "--model", "smollm2", "--format", "json")
    [check] = [one for one in json.loads(out)["checks"] if one["section"] == "model"]
    assert (code, check["status"], check["hint"]) == (1, "problem", "get it: mpg models get smollm2")


def batch(mpg: Cli, *argv: str) -> tuple[int, list[dict[str, Any]], str]:
    command = ("batch", "in.txt", "--input-format", "text", "-o", "out.jsonl", *SHORT, "--seed", "3", *argv)
    code, _, err = mpg(*command)
    return code, [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()], err


def test_a_batch_goes_on_with_the_model_that_it_began_with(own: Cli, fetch: Fetch) -> None:
    assert batch(own)[0] == 0
    Path("in.txt").write_text("one\ntwo\nthree\n")
    fetch()
    code, records, err = batch(own)
    assert code == 0, err
    assert [found["model"] for found in records] == ["mpg-tiny"] * 3
    assert err.splitlines()[0] == "mpg: using mpg-tiny, the model of out.jsonl"
    Path("in.txt").write_text("one\ntwo\nthree\nfour\n")
    code, records, err = batch(own, "--model", "smollm2")
    assert (code, len(records)) == (2, 3)
    assert 'out.jsonl was written with a different model: "mpg-tiny", now "smollm2" (and revision)' in err
    code, records, _ = batch(own, "--force-restart")
    assert code == 0
    assert {(found["model"], found["revision"]) for found in records} == {("smollm2", COMMIT)}


def test_a_batch_goes_on_with_the_weights_that_it_began_with(
    own: Cli, fetch: Fetch, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch()
    assert batch(own)[0] == 0
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    snapshot(cache, SMOLLM2_REPO, "0b" * 20, model)  # what main is from now on
    Path("in.txt").write_text("one\ntwo\nthree\n")
    code, records, _ = batch(own)
    assert (code, [found["revision"] for found in records]) == (0, [COMMIT] * 3)
    code, _, err = batch(own, "--model", "smollm2")
    assert code == 2
    assert f'a different revision: "{COMMIT}", now "{"0b" * 20}"' in err


def test_an_evaluation_goes_on_with_the_model_that_it_began_with(own: Cli, fetch: Fetch) -> None:
    Path("words.yaml").write_text("calmly: [calm, quiet]\n")
    Path("prompts.txt").write_text("one\ntwo\n")
    command = ("eval", "style", *SHORT, "--judge", "none", "--prompts", "prompts.txt", "-o", "out.jsonl")
    assert own(*command)[0] == 0
    fetch()
    code, out, err = own(*command, "--format", "json")
    assert (code, json.loads(out)["model"]) == (0, "mpg-tiny")
    assert err.splitlines()[0] == "mpg: using mpg-tiny, the model of out.jsonl"
    assert "resuming: 2 of the replies are in --output" in err
    code, _, err = own(*command, "--model", "smollm2")
    assert code == 2
    assert 'a different model: "mpg-tiny", now "smollm2"' in err
    Path("out.jsonl").unlink()
    code, out, _ = own(*command, "--format", "json")
    assert (code, json.loads(out)["model"]) == (0, "smollm2")


def test_a_saved_chat_goes_on_with_its_model(own: Cli, fetch: Fetch) -> None:
    assert own("chat", *SHORT, stdin=b"hello\n/save chat.json\n")[0] == 0
    fetch()
    code, _, err = own("chat", "--load", "chat.json", stdin=b"again\n/save chat.json\n")
    assert (code, json.loads(Path("chat.json").read_text())["model"]) == (0, "mpg-tiny")
    assert "using" not in err
    assert own("chat", *SHORT, stdin=b"hello\n/save new.json\n")[0] == 0
    saved = json.loads(Path("new.json").read_text())
    assert (saved["model"], saved["revision"]) == ("smollm2", COMMIT)


def test_adapters_are_trained_for_the_model_of_the_hub(own: Cli, fetch: Fetch) -> None:
    fetch()
    code, out, err = own("train", "grump", "--data", "prefs.jsonl", *QUICK, "--persona-dir", "mine")
    assert code == 0, err
    assert out.splitlines()[-1] == "try it: mpg generate --persona grump --persona-dir mine '…'"
    [config] = Path("mine").rglob("adapter_config.json")
    trained = json.loads(config.read_text())
    assert (trained["base_model_name_or_path"], trained["revision"]) == (SMOLLM2_REPO, COMMIT)
    assert f"base: {SMOLLM2_REPO}" in Path("mine/grump.yaml").read_text()
    code, out, err = own(
        *(
            "generate",
            "-p",
            "grump",
            "--persona-dir",
            "mine",
            "--max-tokens",
            "2",
            "--format",
            "json",
            "hello",
        )
    )
    assert [expert["kind"] for expert in json.loads(out)["experts"]] == ["adapter"]
    assert "names" not in err


def test_a_training_run_goes_on_with_the_model_that_it_began_with(fetch: Fetch, tmp_path: Path) -> None:
    from mpg_cli.training.workflow import base_model, destination

    fetch()
    assert base_model(tmp_path, "grump", ModelOptions()).name == "smollm2"
    checkpoint = destination(tmp_path, "grump", "mpg-tiny").run / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    assert base_model(tmp_path, "grump", ModelOptions()).name == "mpg-tiny"
    assert base_model(tmp_path, "other", ModelOptions()).name == "smollm2"
    assert base_model(tmp_path, "grump", ModelOptions("smollm2")).name == "smollm2"


def test_lists_are_of_the_model_in_use(own: Cli, fetch: Fetch) -> None:
    def listed() -> tuple[str, dict[str, Any]]:
        personas = json.loads(own("personas", "list", "--format", "json")[1])["model"]
        return personas, {row["id"]: row for row in json.loads(own("models", "list", "--format", "json")[1])}

    personas, models = listed()
    assert (personas, list(models)) == ("mpg-tiny", ["mpg-tiny"])
    fetch()
    personas, models = listed()
    assert (personas, list(models)) == ("smollm2", ["mpg-tiny", "smollm2"])
    assert models["smollm2"]["in_use"]
    assert (models["smollm2"]["source"], models["smollm2"]["revision"]) == ("cache", COMMIT)
    for name in ("smollm2", "auto", SMOLLM2_REPO):
        code, out, err = own("models", "show", name)
        assert (code, out.splitlines()[0].split()[1:]) == (0, ["smollm2", "(in", "use)"]), err
    checks = json.loads(own("doctor", "--no-self-check", "--format", "json")[1])["checks"]
    [check] = [one for one in checks if one["section"] == "model"]
    assert check["message"].startswith("smollm2: LlamaForCausalLM, ")
    assert check["message"].endswith(", chosen by auto")
