"""An interrupted `mpg train`: the same command resumes and ends with the same adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.training import run as run_folder
from tests.support.cli import QUICK, Cli, trained
from tests.support.files import written
from tests.support.preferences import preferences

ROOT = Path(__file__).parents[3]

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
from mpg_cli.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of an uninterrupted run."""
    from mpg_cli.cli.app import main

    folder = tmp_path_factory.mktemp("whole")
    data = written(folder / "prefs.jsonl", preferences())
    argv = ["grump", "--model", model, *QUICK, "--data", data, "--persona-dir", folder, "-q"]
    assert main(["train", *map(str, argv)]) == 0
    return (folder / "adapters" / "tiny-one" / "grump" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_resumed_by_the_same_command(
    mpg: Cli,
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
    assert "with other settings: beta was 0.1 and is 0.2" in err
    summary = trained(mpg, model, "--persona-dir", "out")
    assert (summary["resumed_at"], summary["steps"]) == (2, 6)
    assert not run.exists()
    assert (Path(summary["adapter"]) / "adapter_model.safetensors").read_bytes() == whole


def test_a_killed_run_is_resumed_from_its_last_checkpoint(
    mpg: Cli, model: Path, whole: bytes, tmp_path: Path
) -> None:
    argv = ["train", "grump", "--model", str(model), *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", SLOW, *argv], cwd=tmp_path, env=env)
    run = tmp_path / "out" / "adapters" / "tiny-one" / ".grump.training"
    deadline = time.monotonic() + 60
    while not any(map(run_folder._complete, run.glob("checkpoint-*"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    summary = trained(mpg, model, "--persona-dir", "out")
    assert 1 <= summary["resumed_at"] < summary["steps"] == 6
    assert (Path(summary["adapter"]) / "adapter_model.safetensors").read_bytes() == whole


def test_a_torn_checkpoint_gives_way_to_the_one_before(
    mpg: Cli, model: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that replaces an adapter; it is resumed without --force, which starts it over."""
    from mpg_cli.training import trainer

    argv = ["train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    trained(mpg, model, "--persona-dir", "out", "--seed", "1")
    step, steps = trainer._QuietDPO.training_step, []

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) in (3, 6):
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(trainer, "CHECKPOINT_SHARE", 1e9)
        patch.setattr(trainer._QuietDPO, "training_step", interrupted)
        for _ in range(2):
            code, _, err = mpg(*argv, "--force")
            assert code == 130
            assert "resuming" not in err
            assert err.endswith("step 3 is kept, and the same command without --force resumes from there\n")
    optimizer = Path("out/adapters/tiny-one/.grump.training/checkpoint-3/optimizer.pt")
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    code, _, err = mpg(*argv)
    assert code == 0
    assert (
        "mpg: step 3 cannot be loaded: its checkpoint was damaged and is deleted\nmpg: resuming at step 2\n"
        in err
    )
    assert Path("out/adapters/tiny-one/grump/adapter_model.safetensors").read_bytes() == whole
