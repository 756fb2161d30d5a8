"""The process is killed for real, at many random points: each id is there once, and nothing is torn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

COUNT = 40
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def arguments(world: Path, tmp_path: Path) -> list[str]:
    lines = [{"id": f"l{n}", "prompt": f"word {n}", "max_tokens": 6 + n % 9} for n in range(COUNT)]
    lines[7]["prompt"] = ""
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return [
        *("batch", str(tmp_path / "in.jsonl"), "-p", "bold+calm:0.5", "--seed", "3", "--batch-size", "4"),
        *("--persona-dir", str(world), "--model", str(world / "base"), "--device", "cpu", "-q"),
    ]


def records(file: Path) -> dict[str, str]:
    """Text (or error code) by id; every line has to be whole and every id there once."""
    found: dict[str, str] = {}
    for line in file.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        assert record["id"] not in found
        found[record["id"]] = record.get("text") or record.get("error", {}).get("code", "")
    return found


def test_killed_at_many_points_nothing_is_lost_and_nothing_twice(
    arguments: list[str], tmp_path: Path
) -> None:
    calm, stormy = tmp_path / "calm.jsonl", tmp_path / "stormy.jsonl"
    server = [sys.executable, "-m", "tests.batch.fork_server", "11"]
    whole = subprocess.run(
        [*server, "600", *arguments, "-o", str(calm)], capture_output=True, text=True, check=True
    )
    kills, code, seconds = whole.stdout.split()
    assert (kills, code) == ("0", "1"), whole.stderr  # one line is wrong
    longest = str(0.25 * float(seconds))
    torn = subprocess.run(
        [*server, longest, *arguments, "-o", str(stormy)], capture_output=True, text=True, check=True
    )
    kills, code, _ = torn.stdout.split()
    assert int(kills) >= 3, longest
    assert code == "1"
    assert len(records(calm)) == COUNT
    assert records(stormy) == records(calm)
    assert records(calm)["l7"] == "empty_prompt"


def start(arguments: list[str], *out: str | Path, **pipes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mpg_cli", *arguments, *("-o" for _ in out), *map(str, out)]
    # Whoever runs the tests in the background may ignore Ctrl-C, and children inherit that.
    default_sigint = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=default_sigint, **pipes)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_and_the_rest_follows(
    arguments: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out.jsonl"
    process = start([a for a in arguments if a != "-q"], out)
    while process.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.005)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    assert "the same command goes on" in told
    before = records(out)
    assert 0 < len(before) < COUNT
    rest = start(arguments, out)
    rest.communicate(timeout=240)
    assert rest.returncode == 1
    after = records(out)
    assert len(after) == COUNT
    assert before.items() <= after.items()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pipe_is_answered_line_by_line_and_can_be_left(
    arguments: list[str], number: signal.Signals, code: int
) -> None:
    """Each reply comes before the next line is written; then a signal comes while it waits for one."""
    argv = ["batch", "-", *(a for a in arguments[2:] if a != "-q")]
    process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for name in ("a", "b", "c"):
        process.stdin.write(json.dumps({"id": name, "prompt": "word", "max_tokens": 4}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == name
    process.send_signal(number)
    assert process.wait(60) == code  # its input is still open
    assert "3 answered" in process.stderr.read()  # type: ignore[union-attr]
