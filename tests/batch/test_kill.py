"""The process is killed for real, at many random points: each id is there once, and nothing is torn."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.forked import Mpg

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
    assert Mpg(["--version"]).wait(120) == 0  # what they are forked from has imported everything
    began = time.monotonic()
    whole = Mpg([*arguments, "-o", str(calm)])
    assert whole.wait(600) == 1, whole.output()  # one line is wrong
    longest, points, kills = 0.25 * (time.monotonic() - began), random.Random(11), 0
    while (torn := Mpg([*arguments, "-o", str(stormy)])).wait(points.uniform(0, longest)) is None:
        torn.process.kill()
        if torn.wait(60) == 1:  # it has ended between the wait and the kill
            break
        assert torn.wait(0) == -signal.SIGKILL, torn.output()
        kills += 1
        longest *= 1.05  # on a slow machine it ends as well
    assert torn.wait(0) == 1
    assert kills >= 3
    assert len(records(calm)) == COUNT
    assert records(stormy) == records(calm)
    assert records(calm)["l7"] == "empty_prompt"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_and_the_rest_follows(
    arguments: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out.jsonl"
    mpg = Mpg([*(a for a in arguments if a != "-q"), "-o", str(out)])
    while mpg.wait(0.005) is None and not (out.exists() and out.stat().st_size):
        pass
    mpg.send(number)
    assert mpg.wait(120) == code, mpg.output()
    assert "run the same command again to resume" in mpg.output()
    before = records(out)
    assert 0 < len(before) < COUNT
    assert Mpg([*arguments, "-o", str(out)]).wait(240) == 1
    after = records(out)
    assert len(after) == COUNT
    assert before.items() <= after.items()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pipe_is_answered_line_by_line_and_can_be_left(
    arguments: list[str], number: signal.Signals, code: int
) -> None:
    """Each reply comes before the next line is written; then a signal comes while it waits for one."""
    mpg = Mpg(["batch", "-", *(a for a in arguments[2:] if a != "-q")])
    for name in ("a", "b", "c"):
        mpg.stdin.write(json.dumps({"id": name, "prompt": "word", "max_tokens": 4}) + "\n")
        mpg.stdin.flush()
        assert json.loads(mpg.stdout.readline())["id"] == name
    mpg.send(number)
    assert mpg.wait(60) == code  # its input is still open
    assert "3 answered" in mpg.output()
