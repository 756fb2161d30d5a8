"""An interrupted `mpg train`: the same command resumes and ends with the same adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.cli import QUICK, Cli, trained
from tests.support.files import written
from tests.support.preferences import preferences
from tests.support.steps import before_steps

ROOT = Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from mpg_cli.cli.app import main
from tests.support.steps import before_steps

def kill(step):
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)

with before_steps(kill):
    main(sys.argv[1:])
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


def signalled(number: signal.Signals, step: int) -> AbstractContextManager[None]:
    """Sends this process a signal in one step of training."""
    return before_steps(lambda now: os.kill(os.getpid(), number) if now == step else None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_resumed_by_the_same_command(
    mpg: Cli, model: Path, whole: bytes, number: signal.Signals, code: int
) -> None:
    argv = ["train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    with signalled(number, step=2):
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
    with signalled(signal.SIGINT, step=3):
        assert mpg(*argv)[0] == 130
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *argv], cwd=tmp_path, env=env, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    run = tmp_path / "out" / "adapters" / "tiny-one" / ".grump.training"
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    summary = trained(mpg, model, "--persona-dir", "out")
    assert (summary["resumed_at"], summary["steps"]) == (3, 6)
    assert (Path(summary["adapter"]) / "adapter_model.safetensors").read_bytes() == whole


def test_a_torn_checkpoint_gives_way_to_the_one_before(mpg: Cli, model: Path, whole: bytes) -> None:
    """A run that replaces an adapter; it is resumed without --force, which starts it over."""
    argv = ["train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out"]
    trained(mpg, model, "--persona-dir", "out", "--seed", "1")
    for _ in range(2):
        with signalled(signal.SIGINT, step=2):
            code, _, err = mpg(*argv, "--force")
        assert code == 130
        assert "resuming" not in err
        assert err.endswith("step 2 is kept, and the same command without --force resumes from there\n")
    with signalled(signal.SIGINT, step=1):
        code, _, err = mpg(*argv)
    assert code == 130
    assert err.endswith("step 3 is kept, and the same command resumes from there\n")
    optimizer = Path("out/adapters/tiny-one/.grump.training/checkpoint-3/optimizer.pt")
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    code, _, err = mpg(*argv)
    assert code == 0
    assert (
        "mpg: step 3 cannot be loaded: its checkpoint was damaged and is deleted\nmpg: resuming at step 2\n"
        in err
    )
    assert Path("out/adapters/tiny-one/grump/adapter_model.safetensors").read_bytes() == whole
