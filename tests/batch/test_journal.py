"""The output file: resumed by id, never torn, one run at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.batch.journal import Journal
from mpg_cli.errors import MpgError, UsageError

CONFIG = {"model": "m", "seed": 3, "temperature": 1.0}
DIGEST = "00000000000000aa"


def record(id_: str, digest: str = DIGEST, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "input": digest, **fields}


def ids(file: Path) -> list[str]:
    return [json.loads(line)["id"] for line in file.read_text().splitlines()]


def test_what_was_written_is_done_the_next_time(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out, CONFIG) as journal:
        journal.write(record("a"))
        journal.write(record("b", error={"code": "x", "message": "y"}))
        assert not journal.done("a", DIGEST)  # of earlier runs
    with Journal(out, CONFIG) as journal:
        assert journal.done("a", DIGEST)
        assert journal.done("b", DIGEST)
        assert not journal.done("c", DIGEST)
        assert (journal.answered, journal.failed) == (1, 1)
        journal.write(record("c"))
    assert ids(out) == ["a", "b", "c"]


def test_openai_records_are_known_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "out", CONFIG) as journal:
        journal.write({"id": f"mpg-{DIGEST}", "custom_id": "r", "response": {}, "error": None})
    with Journal(tmp_path / "out", CONFIG) as journal:
        assert journal.done("r", DIGEST)


def test_a_torn_last_line_is_cut(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Journal(out, CONFIG) as journal:
        journal.write(record("a"))
    whole = out.read_bytes()
    for torn in (b'{"id": "b", "inp', b'{"id": "b", "input": "00000000000000aa"}'):
        out.write_bytes(whole + torn)
        with Journal(out, CONFIG) as journal:
            assert not journal.done("b", DIGEST)
            journal.write(record("b"))
        assert ids(out) == ["a", "b"]
        out.write_bytes(whole)
    out.write_bytes(b'{"id": "tor')
    with Journal(out, CONFIG):
        pass
    assert out.read_bytes() == b""


def test_a_changed_configuration_names_the_field(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Journal(out, CONFIG) as journal:
        journal.write(record("a"))
    with (
        pytest.raises(UsageError, match=r"another temperature: 1\.0, now 0\.5"),
        Journal(out, {**CONFIG, "temperature": 0.5}),
    ):
        pass
    with Journal(out, {**CONFIG, "seed": 99}, drawn=["seed"]) as journal:  # nobody asked for 99
        assert journal.config["seed"] == 3
    with Journal(out, {**CONFIG, "temperature": 0.5}, restart=True) as journal:
        assert not journal.done("a", DIGEST)
    assert out.read_bytes() == b""
    assert json.loads((tmp_path / "out.mpg.json").read_text())["config"]["temperature"] == 0.5


def test_an_output_that_is_no_batch_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("my diary\n")
    with pytest.raises(UsageError, match="does not say how it was made"), Journal(out, CONFIG):
        pass
    assert out.read_text() == "my diary\n"
    (tmp_path / "out.mpg.json").write_text(json.dumps({"config": CONFIG}))
    with pytest.raises(UsageError, match="out:1 is no record"), Journal(out, CONFIG):
        pass
    assert out.read_text() == "my diary\n"


def test_a_line_that_changed_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "out", CONFIG) as journal:
        journal.write(record("a"))
    with Journal(tmp_path / "out", CONFIG) as journal, pytest.raises(UsageError, match="a has changed"):
        journal.done("a", "00000000000000bb")


CHANGED = "00000000000000bb"


def test_a_line_that_failed_is_tried_again_once_it_changed(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with Journal(out, CONFIG) as journal:
        journal.write(record("a", error=error))
        journal.write(record("b"))
        journal.write(record("c", error=error))
    with Journal(out, CONFIG) as journal:
        assert (journal.done("a", CHANGED), journal.done("b", DIGEST), journal.done("c", DIGEST)) == (
            False,
            True,
            True,
        )
        assert (journal.answered, journal.failed) == (1, 1)
        journal.write(record("a", CHANGED, text="Aye."))
        with pytest.raises(UsageError, match="line b has changed") as refused:
            journal.done("b", CHANGED)
    assert "give it a new id" in str(refused.value.hint)
    assert ids(out) == ["b", "c", "a"]
    with Journal(out, CONFIG) as journal:
        assert journal.done("a", CHANGED)


def test_an_error_goes_with_its_line(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with Journal(out, CONFIG) as journal:
        for id_ in ("c", "(line 2)", "c (line 3)"):
            journal.write(record(id_, **({} if id_ == "c" else {"error": error})))
    with Journal(out, CONFIG) as journal:
        assert journal.done("c (line 3)", DIGEST)  # stopped before the end, so nobody knows
    assert ids(out) == ["c", "(line 2)", "c (line 3)"]
    with Journal(out, CONFIG) as journal:
        assert journal.done("c (line 3)", DIGEST)  # what was answered stays, even if its line went
        journal.forget_unmet()
        assert (journal.answered, journal.failed) == (1, 1)
    assert ids(out) == ["c", "c (line 3)"]


def test_a_run_that_was_killed_leaves_each_id_once(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with Journal(out, CONFIG):
        pass
    records = [record("a", error=error), record("a", CHANGED, error=error), record("b", error=error)]
    raw = "".join(json.dumps(r) + "\n" for r in [*records, record("b", CHANGED)])  # changed, tried, killed
    out.write_text(raw)
    with Journal(out, CONFIG) as journal:
        assert (journal.answered, journal.failed) == (1, 1)
        assert journal.done("a", CHANGED)
        assert journal.done("b", CHANGED)
    assert ids(out) == ["a", "b"]
    out.write_text(raw)
    with Journal(out, CONFIG, retry_errors=True) as journal:
        assert not journal.done("a", CHANGED)
    assert ids(out) == ["b"]


def test_errors_are_left_out_to_be_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Journal(out, CONFIG) as journal:
        journal.write(record("a", error={"code": "x", "message": "y"}))
        journal.write(record("b"))
    with Journal(out, CONFIG, retry_errors=True) as journal:
        assert not journal.done("a", DIGEST)
        assert journal.done("b", DIGEST)
        journal.write(record("a"))
    assert ids(out) == ["b", "a"]


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mpg_cli.batch.journal import Journal\n"
        f"with Journal(Path({str(tmp_path / 'out')!r}), {CONFIG!r}): pass"
    )
    with Journal(tmp_path / "out", CONFIG):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another run is writing out" in second.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_no_regular_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(UsageError, match="is not a regular file"):
            Journal(place, CONFIG, restart=True)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path) -> None:
    with Journal(tmp_path / "out", CONFIG) as journal:
        journal._file.close()
        journal._file = open("/dev/full", "wb")  # noqa: SIM115
        with pytest.raises(MpgError, match="No space left on device") as caught:
            journal.write(record("a"))
    assert "the same command again" in str(caught.value.hint)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), Journal(tmp_path / "no" / "out", CONFIG):
        pass
