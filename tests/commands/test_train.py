"""`mpg train` from the command line to `mpg generate`, on a tiny random model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.jobs import preferences, quick_collections, responses, save_chat_model, written

ROOT = Path(__file__).parents[2]
QUICK = ("--epochs", "2", "--batch-size", "8", "--learning-rate", "0.02", "--rank", "4", "--device", "cpu")
Mpg = Callable[..., tuple[int, str, str]]

SLOW = """
import sys, time
from mpg_cli.training import trainer
trainer.CHECKPOINT_SECONDS = 0.0
trainer.CHECKPOINT_SHARE = 1e9
step = trainer._QuietDPO.training_step
def slow(self, *args, **kwargs):
    time.sleep(0.2)
    return step(self, *args, **kwargs)
trainer._QuietDPO.training_step = slow
from mpg_cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_collections():
        yield save_chat_model(tmp_path_factory.mktemp("models") / "tiny-one")


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mpg:
    """`mpg` in an empty folder with data files; code, stdout and stderr."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "prefs.jsonl", preferences())
    written(tmp_path / "plain.jsonl", responses())

    def run(*argv: str | Path) -> tuple[int, str, str]:
        from mpg_cli.app import main

        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return run


def trained(mpg: Mpg, model: Path, *argv: str | Path, name: str = "grump") -> dict[str, Any]:
    """The summary of a run that must succeed."""
    more = () if "--data" in argv else ("--data", "prefs.jsonl")
    code, out, err = mpg("train", name, "--model", model, *QUICK, "--format", "json", *more, *argv)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def refused(mpg: Mpg, *argv: str | Path, code: int = 2) -> str:
    """stderr of a run that fails with this code and writes nothing."""
    before = sorted(Path().rglob("*"))
    found, out, err = mpg("train", *argv)
    assert (found, out) == (code, ""), err
    assert sorted(Path().rglob("*")) == before
    return err


def test_generate_finds_the_persona_at_once(mpg: Mpg, model: Path) -> None:
    summary = trained(mpg, model, "--description", "Says no.", "--license", "CC0-1.0")
    home = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "personas"
    assert summary["file"] == str(home / "grump.yaml")
    assert summary["rows"] == {
        "read": 24,
        "left_out": 0,
        "too_long": 0,
        "cut": 0,
        "trained": 22,
        "held_out": 2,
    }
    assert summary["held_out"]["accuracy"] == 1.0
    assert summary["settings"]["loss"] == "ipo"
    assert (home / "grump.yaml").read_text() == (
        "name: grump\ndescription: Says no.\nadapters:\n  - base: tiny-one\n"
        "    path: adapters/tiny-one/grump\nlicense: CC0-1.0\nsource: trained with mpg on prefs.jsonl\n"
    )
    argv = ("-p", "grump", "--model", model, "--max-tokens", "4", "--temperature", "0", "--format", "json")
    code, out, err = mpg("generate", *argv, "--device", "cpu", "say 99")
    assert code == 0, err
    reply = json.loads(out)
    assert reply["experts"] == [{"name": "grump", "kind": "adapter", "weight": 1.0}]
    assert reply["text"] == "aaaa"


def test_nothing_names_the_machine(mpg: Mpg, model: Path, tmp_path: Path) -> None:
    trained(mpg, model, "--persona-dir", "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "grump.yaml",
    ]
    for path in files:
        content = path.read_bytes()
        for place in (tmp_path, model.parent, Path.home(), Path(sys.prefix)):
            assert str(place).encode() not in content


def test_the_text_summary_says_what_to_do_next(mpg: Mpg, model: Path) -> None:
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    lines = out.splitlines()
    assert lines[1].startswith("22 pairs, 6 steps in ")
    assert lines[3].startswith("held out, 2 pairs: accuracy 100% (loss ")
    assert lines[4] == f"try it: mpg generate --persona grump --model {model} '…'"
    assert "step 6/6: loss " in err
    assert "rank 4, rate 0.02, 2 epochs, batch 8, seed 0" in err


def test_quiet_says_nothing_but_the_summary(mpg: Mpg, model: Path) -> None:
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "-q")
    assert (code, err) == (0, "")
    assert out.startswith("persona grump for tiny-one: ")


def test_responses_are_imitated(mpg: Mpg, model: Path) -> None:
    summary = trained(mpg, model, "--sft", "--data", "plain.jsonl", "--eval-split", "0")
    assert summary["settings"]["method"] == "sft"
    assert summary["held_out"] is None


def test_a_second_model_is_one_more_entry(mpg: Mpg, model: Path, tmp_path: Path) -> None:
    trained(mpg, model, "--persona-dir", "out")
    other = save_chat_model(tmp_path / "tiny-two")
    trained(mpg, other, "--persona-dir", "out")
    from mpg_cli.personas.schema import load_file

    (persona,) = load_file(tmp_path / "out" / "grump.yaml")
    assert {entry.base for entry in persona.adapters} == {"tiny-one", "tiny-two"}
    argv = ("-p", "grump", "--persona-dir", "out", "--max-tokens", "2", "--device", "cpu", "--dry-run")
    for base in (model, other):
        assert mpg("generate", *argv, "--model", base, "hi")[0] == 0


def test_an_adapter_is_replaced_only_by_force(mpg: Mpg, model: Path) -> None:
    first = trained(mpg, model, "--persona-dir", "out")
    weights = Path(first["adapter"]) / "adapter_model.safetensors"
    before = weights.read_bytes()
    argv = ("grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out", "--seed", "1")
    assert "grump has an adapter for tiny-one already" in refused(mpg, *argv)
    assert weights.read_bytes() == before
    trained(mpg, model, "--persona-dir", "out", "--seed", "1", "--force")
    assert weights.read_bytes() != before


def test_the_same_run_gives_the_same_adapter(mpg: Mpg, model: Path) -> None:
    one = Path(trained(mpg, model, "--persona-dir", "a")["adapter"])
    two = Path(trained(mpg, model, "--persona-dir", "b")["adapter"])
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_bad_rows_are_named_counted_and_left_out(mpg: Mpg, model: Path, tmp_path: Path) -> None:
    bad = [{"prompt": "x", "chosen": "", "rejected": "b"}, "{", {"prompt": "x", "chosen": "a"}]
    written(tmp_path / "bad.jsonl", [*preferences(20), *bad])
    argv = ("grump", "--model", model, *QUICK, "--data", "bad.jsonl")
    lines = [
        "bad.jsonl:21: chosen is empty",
        "bad.jsonl:22: not JSON: Expecting property name enclosed in double quotes at column 2",
        "bad.jsonl:23: rejected is missing",
    ]
    assert refused(mpg, *argv, "--strict") == "\n".join(
        [
            "mpg: error: 3 rows of the data cannot be used:",
            *lines,
            "hint: correct them, or leave out --strict",
            "",
        ]
    )
    code, out, err = mpg("train", *argv, "--format", "json")
    assert code == 0
    assert "\n".join(["mpg: 3 rows of the data left out:", *lines, ""]) in err
    assert json.loads(out)["rows"]["left_out"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["7up", "--data", "prefs.jsonl"], "'7up' is no name of a persona"),
        (["grump"], "data is missing"),
        (["grump", "--data", "none.jsonl"], "--data none.jsonl cannot be read: No such file"),
        (["grump", "--data", "plain.jsonl"], "too little data: 0 usable pairs; 24 more cannot be used"),
        (["grump", "--data", "prefs.jsonl", "--loss", "ipoo"], "--loss 'ipoo' is none; did you mean ipo"),
        (["grump", "--data", "prefs.jsonl", "--rank", "0"], "--rank must be at least 1"),
        (["grump", "--data", "prefs.jsonl", "--format", "live"], "--format must be text or json"),
        (["grump", "--data", "prefs.jsonl", "--sft", "--beta", "1"], "--beta belongs to preference data"),
        (["grump", "--data", "prefs.jsonl", "--prompt", "\x1b[2J"], "the persona file would not be valid"),
    ],
)
def test_wrong_usage_is_refused_before_anything_loads(
    mpg: Mpg, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "mpg_cli.training.base_model", None)
    assert message in refused(mpg, *argv)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--targets", "q_prj"], 2, "--targets: 'q_prj' is no layer of this model; did you mean q_proj"),
        (["--max-length", "4096"], 2, "--max-length 4096 is beyond the 128 positions of this model"),
        (["--dtype", "float16"], 2, "--dtype float16 trains on CUDA only"),
        (["--learning-rate", "1e30"], 1, "training diverged"),
    ],
)
def test_what_the_model_does_not_allow(
    mpg: Mpg, model: Path, argv: list[str], code: int, message: str
) -> None:
    common = ("--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out")
    Path("out/adapters/tiny-one").mkdir(parents=True)
    assert message in refused(mpg, "grump", *common, *argv, code=code)


def test_the_missing_extra_is_one_message(mpg: Mpg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    assert refused(mpg, "grump", "--data", "prefs.jsonl", code=1) == (
        "mpg: error: training needs trl, which is not installed\nhint: pip install 'mpg-cli[train]'\n"
    )


def test_a_full_disk_leaves_nothing_under_the_final_name(
    mpg: Mpg, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is kept, and the same command ends it without another step."""
    from mpg_cli.training import output

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    argv = ("grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out")
    with monkeypatch.context() as patch:
        patch.setattr(output.os, "fsync", full)
        code, _, err = mpg("train", *argv)
    assert code == 1
    assert "mpg: error: the adapter cannot be written to out: No space left on device" in err
    assert [path.name for path in Path("out/adapters/tiny-one").iterdir()] == [".grump.training"]
    assert not Path("out/grump.yaml").exists()
    summary = trained(mpg, model, "--persona-dir", "out")
    assert (summary["resumed_at"], summary["steps"]) == (6, 6)
    assert sorted(path.name for path in Path("out/adapters/tiny-one").iterdir()) == ["grump"]


def test_a_persona_that_hides_the_new_one_is_told(mpg: Mpg, model: Path) -> None:
    Path("personas").mkdir()
    Path("personas/mine.yaml").write_text("name: grump\nprompt: No.\n")
    code, _, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    assert "personas/mine.yaml:1 has a persona grump too and is searched first" in err


def test_the_format_of_generate_in_the_config_does_no_harm(mpg: Mpg, model: Path) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("format: plain\nseed: 3\n")
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    assert out.startswith("persona grump")
    assert "seed 3" in err


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of the run that nobody interrupts."""
    from mpg_cli.app import main

    folder = tmp_path_factory.mktemp("whole")
    data = written(folder / "prefs.jsonl", preferences())
    argv = ["grump", "--model", model, *QUICK, "--data", data, "--persona-dir", folder, "-q"]
    assert main(["train", *map(str, argv)]) == 0
    return (folder / "adapters" / "tiny-one" / "grump" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_resumed_by_the_same_command(
    mpg: Mpg,
    model: Path,
    whole: bytes,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    from mpg_cli.training import trainer

    step, steps = trainer._QuietDPO.training_step, []

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), number)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer._QuietDPO, "training_step", interrupted)
    argv = ["train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    found, out, err = mpg(*argv)
    assert (found, out) == (code, "")
    assert err.endswith("mpg: stopped; step 2 is kept, and the same command resumes from there\n")
    assert not Path("out/grump.yaml").exists()
    run = Path("out/adapters/tiny-one/.grump.training")
    assert [path.name for path in run.parent.iterdir()] == [run.name]

    found, _, err = mpg(*argv, "--beta", "0.2")
    assert found == 2
    assert "it was another: beta was 0.1 and is 0.2" in err
    summary = trained(mpg, model, "--persona-dir", "out")
    assert (summary["resumed_at"], summary["steps"]) == (2, 6)
    assert not run.exists()
    assert (Path(summary["adapter"]) / "adapter_model.safetensors").read_bytes() == whole


def test_a_killed_run_is_resumed_from_its_last_checkpoint(
    mpg: Mpg, model: Path, whole: bytes, tmp_path: Path
) -> None:
    argv = ["train", "grump", "--model", str(model), *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", SLOW, *argv], cwd=tmp_path, env=env)
    run = tmp_path / "out" / "adapters" / "tiny-one" / ".grump.training"
    deadline = time.monotonic() + 60
    while not list(run.glob("checkpoint-*/trainer_state.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    summary = trained(mpg, model, "--persona-dir", "out")
    assert 1 <= summary["resumed_at"] < summary["steps"] == 6
    assert (Path(summary["adapter"]) / "adapter_model.safetensors").read_bytes() == whole


def test_rows_that_do_not_fit_are_counted_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from mpg_cli.commands.train_notices import Notices
    from mpg_cli.render.terminal import Streams

    trained: Any = SimpleNamespace(too_long=1, cut=2)
    Notices(Streams.current(), quiet=False).lengths(trained, 128)
    assert capsys.readouterr().err == (
        "mpg: left out with no room for a reply in 128 tokens: 1 prompt (--max-length)\n"
        "mpg: cut at 128 tokens: 2 rows (--max-length)\n"
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mpg_cli.app import main; code = main(['train', '--help'])\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'rich', 'numpy'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert "--likelihood" in done.stdout


def test_bad_data_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    code = (
        "import sys; from mpg_cli.app import main\n"
        "code = main(['train', 'x', '--data', 'x.jsonl']); print('torch' in sys.modules, code)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "False 2\n"
    assert "x.jsonl:1: prompt is missing" in done.stderr
