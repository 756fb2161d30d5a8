"""The output file: resumed by id, never torn, one run at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.batch.log import open_log
from mpg_cli.errors import UsageError

CONFIG = {"model": "m", "seed": 3, "temperature": 1.0}
DIGEST = "00000000000000aa"


def record(id_: str, digest: str = DIGEST, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "input": digest, **fields}


def ids(file: Path) -> list[str]:
    return [json.loads(line)["id"] for line in file.read_text().splitlines()]


def test_what_was_written_is_done_the_next_time(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_log(out, CONFIG) as log:
        log.write(record("a"))
        log.write(record("b", error={"code": "x", "message": "y"}))
        assert not log.done("a", DIGEST)  # of earlier runs
    with open_log(out, CONFIG) as log:
        assert log.done("a", DIGEST)
        assert log.done("b", DIGEST)
        assert not log.done("c", DIGEST)
        assert (log.answered, log.failed) == (1, 1)
        log.write(record("c"))
    assert ids(out) == ["a", "b", "c"]


def test_openai_records_are_known_again(tmp_path: Path) -> None:
    with open_log(tmp_path / "out", CONFIG) as log:
        log.write({"id": f"mpg-{DIGEST}", "custom_id": "r", "response": {}, "error": None})
    with open_log(tmp_path / "out", CONFIG) as log:
        assert log.done("r", DIGEST)


def test_a_torn_last_line_is_cut(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_log(out, CONFIG) as log:
        log.write(record("a"))
    whole = out.read_bytes()
    for torn in (b'{"id": "b", "inp', b'{"id": "b", "input": "00000000000000aa"}'):
        out.write_bytes(whole + torn)
        with open_log(out, CONFIG) as log:
            assert not log.done("b", DIGEST)
            log.write(record("b"))
        assert ids(out) == ["a", "b"]
        out.write_bytes(whole)
    out.write_bytes(b'{"id": "tor')
    with open_log(out, CONFIG):
        pass
    assert out.read_bytes() == b""


def test_a_changed_configuration_names_the_field(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_log(out, CONFIG) as log:
        log.write(record("a"))
    with (
        pytest.raises(UsageError, match=r"a different temperature: 1\.0, now 0\.5"),
        open_log(out, {**CONFIG, "temperature": 0.5}),
    ):
        pass
    with open_log(out, {**CONFIG, "seed": 99}, drawn=["seed"]) as log:  # 99 was drawn, not requested
        assert log.config["seed"] == 3
    with open_log(out, {**CONFIG, "temperature": 0.5}, restart=True) as log:
        assert not log.done("a", DIGEST)
    assert out.read_bytes() == b""
    assert json.loads((tmp_path / "out.mpg.json").read_text())["config"]["temperature"] == 0.5


def test_an_output_that_is_no_batch_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("my diary\n")
    with pytest.raises(UsageError, match="has no configuration of a run"), open_log(out, CONFIG):
        pass
    assert out.read_text() == "my diary\n"
    (tmp_path / "out.mpg.json").write_text(json.dumps({"config": CONFIG}))
    with pytest.raises(UsageError, match="out:1 is not a record"), open_log(out, CONFIG):
        pass
    assert out.read_text() == "my diary\n"


def test_a_line_that_changed_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path / "out", CONFIG) as log:
        log.write(record("a"))
    with open_log(tmp_path / "out", CONFIG) as log, pytest.raises(UsageError, match="a has changed"):
        log.done("a", "00000000000000bb")


CHANGED = "00000000000000bb"


def test_a_line_that_failed_is_tried_again_once_it_changed(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with open_log(out, CONFIG) as log:
        log.write(record("a", error=error))
        log.write(record("b"))
        log.write(record("c", error=error))
    with open_log(out, CONFIG) as log:
        assert (log.done("a", CHANGED), log.done("b", DIGEST), log.done("c", DIGEST)) == (
            False,
            True,
            True,
        )
        assert (log.answered, log.failed) == (1, 1)
        log.write(record("a", CHANGED, text="Aye."))
        with pytest.raises(UsageError, match="line b has changed") as refused:
            log.done("b", CHANGED)
    assert "give it a new id" in str(refused.value.hint)
    assert ids(out) == ["b", "c", "a"]
    with open_log(out, CONFIG) as log:
        assert log.done("a", CHANGED)


def test_an_error_goes_with_its_line(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with open_log(out, CONFIG) as log:
        for id_ in ("c", "(line 2)", "c (line 3)"):
            log.write(record(id_, **({} if id_ == "c" else {"error": error})))
    with open_log(out, CONFIG) as log:
        assert log.done("c (line 3)", DIGEST)  # stopped before the end of the input, so it may still come
    assert ids(out) == ["c", "(line 2)", "c (line 3)"]
    with open_log(out, CONFIG) as log:
        assert log.done("c (line 3)", DIGEST)  # what was answered stays, even if its line went
        log.forget_absent()
        assert (log.answered, log.failed) == (1, 1)
    assert ids(out) == ["c", "c (line 3)"]


def test_a_run_that_was_killed_leaves_each_id_once(tmp_path: Path) -> None:
    out, error = tmp_path / "out", {"code": "x", "message": "y"}
    with open_log(out, CONFIG):
        pass
    records = [record("a", error=error), record("a", CHANGED, error=error), record("b", error=error)]
    raw = "".join(json.dumps(r) + "\n" for r in [*records, record("b", CHANGED)])  # changed, tried, killed
    out.write_text(raw)
    with open_log(out, CONFIG) as log:
        assert (log.answered, log.failed) == (1, 1)
        assert log.done("a", CHANGED)
        assert log.done("b", CHANGED)
    assert ids(out) == ["a", "b"]
    out.write_text(raw)
    with open_log(out, CONFIG, retry_errors=True) as log:
        assert not log.done("a", CHANGED)
    assert ids(out) == ["b"]


def test_errors_are_left_out_to_be_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_log(out, CONFIG) as log:
        log.write(record("a", error={"code": "x", "message": "y"}))
        log.write(record("b"))
    with open_log(out, CONFIG, retry_errors=True) as log:
        assert not log.done("a", DIGEST)
        assert log.done("b", DIGEST)
        log.write(record("a"))
    assert ids(out) == ["b", "a"]


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mpg_cli.batch.log import open_log\n"
        f"with open_log(Path({str(tmp_path / 'out')!r}), {CONFIG!r}): pass"
    )
    with open_log(tmp_path / "out", CONFIG):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another run is writing out" in second.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_no_regular_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(UsageError, match="is not a regular file"), open_log(place, CONFIG, restart=True):
            pass
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), open_log(tmp_path / "no" / "out", CONFIG):
        pass
