"""The log of a run: what was appended is there the next time, whatever ended the run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from tests.io.processes import CONFIG, KILLS, ROOT, numbers, open_log, start

BOTH = pytest.mark.parametrize("sidecar", [True, False], ids=["beside", "in the first line"])


def written(file: Path, count: int, sidecar: bool) -> bytes:
    with open_log(file, sidecar=sidecar) as log:
        for number in range(count):
            log.append({"n": number, "text": "ü\n\ud800"})
    return file.read_bytes()


@BOTH
def test_records_come_back_in_their_order(tmp_path: Path, sidecar: bool) -> None:
    written(tmp_path / "log", 3, sidecar)
    with open_log(tmp_path / "log", sidecar=sidecar) as log:
        assert log.config == CONFIG
        assert list(log.records(dict)) == [{"n": n, "text": "ü\n\ud800"} for n in range(3)]
        log.append({"n": 3})
        assert numbers(log) == [0, 1, 2, 3]
    names = ["log", "log.mpg.json"] if sidecar else ["log"]
    assert sorted(os.listdir(tmp_path)) == names


def test_where_the_configuration_stands(tmp_path: Path) -> None:
    written(tmp_path / "a", 0, True)
    beside = json.loads((tmp_path / "a.mpg.json").read_text())
    assert beside == {"config": CONFIG, "hash": beside["hash"]}
    assert json.loads(written(tmp_path / "b", 0, False)) == {"type": "run", "schema": 1, "config": CONFIG}


@BOTH
def test_a_log_torn_at_any_byte_resumes(tmp_path: Path, sidecar: bool) -> None:
    whole = written(tmp_path / "log", 3, sidecar)
    head = 0 if sidecar else 1
    for size in range(len(whole) + 1):
        (tmp_path / "log").write_bytes(whole[:size])
        left = max(0, whole[:size].count(b"\n") - head)
        with open_log(tmp_path / "log", sidecar=sidecar) as log:
            assert numbers(log) == list(range(left))
            for number in range(left, 3):
                log.append({"n": number, "text": "ü\n\ud800"})
        assert (tmp_path / "log").read_bytes() == whole


@BOTH
def test_another_configuration_is_refused(tmp_path: Path, sidecar: bool) -> None:
    whole = written(tmp_path / "log", 1, sidecar)
    for config, words in [
        ({**CONFIG, "seed": 4}, r"log was written with a different seed: 3, now 4$"),
        ({**CONFIG, "sampling": {"top_p": 1}}, r"with a different sampling\.top_p: null, now 1$"),
        ({**CONFIG, "seed": 4, "model": "x"}, r'a different model: "m", now "x" \(and seed\)'),
        ({**CONFIG, "more": True}, "different more: null, now true"),
        ({**CONFIG, "args": {"thinking": False}}, r"different args\.thinking: null, now false$"),
        ({"model": "m", "seed": 3}, r"different weights: \[1.0, 0.5\], now null"),
    ]:
        with (
            pytest.raises(UsageError, match=words) as caught,
            open_log(tmp_path / "log", config, sidecar=sidecar),
        ):
            pass
        assert "--again" in str(caught.value.hint)
        if "a different model" in caught.value.message:
            assert caught.value.setting == "--model"
        assert (tmp_path / "log").read_bytes() == whole
    with open_log(tmp_path / "log", {**CONFIG, "seed": 4}, sidecar=sidecar, drawn=["seed"]) as log:
        assert log.config["seed"] == 3
    with open_log(tmp_path / "log", {**CONFIG, "seed": 4}, sidecar=sidecar, restart=True) as log:
        assert (log.config["seed"], numbers(log)) == (4, [])
    with open_log(tmp_path / "log", {**CONFIG, "seed": 4}, sidecar=sidecar):
        pass


@BOTH
@pytest.mark.parametrize(
    "raw",
    [
        b"dear diary\n",
        b"dear diary",
        b"\n",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"type": "run"}\n',
        b'{"type": "run", "schema": 1, "config": 5}\n',
        b'{"type":"run","config":{"model":"m","seed":3,"weights":[1.0,0.5]}}',  # not ours: it has no line end
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_a_file_that_is_not_a_log_is_not_changed(tmp_path: Path, sidecar: bool, raw: bytes) -> None:
    (tmp_path / "log").write_bytes(raw)
    with (
        pytest.raises(UsageError, match=r"log exists, but .* has no configuration of a run"),
        open_log(tmp_path / "log", sidecar=sidecar),
    ):
        pass
    assert (tmp_path / "log").read_bytes() == raw


@BOTH
def test_a_line_that_is_no_record_is_named(tmp_path: Path, sidecar: bool) -> None:
    whole = written(tmp_path / "log", 1, sidecar)
    for line in ("no JSON", "[]", '{"n": "many"}', '{"m": 1}', "[" * 100_000):
        (tmp_path / "log").write_bytes(whole + line.encode() + b"\n")
        with open_log(tmp_path / "log", sidecar=sidecar) as log:
            number = 2 if sidecar else 3
            with pytest.raises(UsageError, match=f"log:{number} is not a record of a test"):
                numbers(log)


@BOTH
def test_only_one_run_at_a_time(tmp_path: Path, sidecar: bool) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.io.processes import *\n"
        f"with open_log(Path(sys.argv[1]), sidecar={sidecar}): pass"
    )
    with open_log(tmp_path / "log", sidecar=sidecar) as log:
        log.append({"n": 0})
        _, err = start(code, tmp_path / "log").communicate(timeout=60)
        assert "UsageError: another run is writing log" in err
        assert numbers(log) == [0]
    assert start(code, tmp_path / "log").communicate(timeout=60) == ("", "")


RUN = (
    "import sys; from pathlib import Path; from tests.io.processes import *\n"
    "with open_log(Path(sys.argv[1]), sidecar=sys.argv[2] == 'True') as log:\n"
    "    done = numbers(log); print('begun', flush=True)\n"
    "    for n in range(len(done), 4000): log.append({'n': n, 'text': 'x' * (n % 97 * 100)})\n"
)


@BOTH
def test_a_run_that_is_killed_again_and_again_loses_nothing(tmp_path: Path, sidecar: bool) -> None:
    draw, kills = random.Random(7), 0
    for _ in range(KILLS):
        process = start(RUN, tmp_path / "log", str(sidecar))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.004))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    assert start(RUN, tmp_path / "log", str(sidecar)).communicate(timeout=60) == ("begun\n", "")
    with open_log(tmp_path / "log", sidecar=sidecar) as log:
        assert numbers(log) == list(range(4000))


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes here")
@BOTH
def test_a_full_disk_is_reported_and_leaves_whole_records(tmp_path: Path, sidecar: bool) -> None:
    """Simulated by a limit on file sizes; without the limit the same run resumes."""
    code = (
        "import resource, sys; from pathlib import Path; from tests.io.processes import *\n"
        "from mpg_cli.errors import MpgError\n"
        f"with open_log(Path(sys.argv[1]), sidecar={sidecar}) as log:\n"
        "    log.append({'n': 0})\n"
        "    size = Path(sys.argv[1]).stat().st_size\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, -1))\n"
        "    try: log.append({'n': 1, 'text': 'x' * 200})\n"
        "    except MpgError as error: print(int(error.exit_code), error.message, '-', error.hint)\n"
        "    print(Path(sys.argv[1]).stat().st_size == size)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "    log.append({'n': 2})\n"
    )
    out, err = start(code, tmp_path / "log").communicate(timeout=60)
    assert err == ""
    message, same = out.splitlines()
    assert message.startswith("1 --output ")
    assert "log cannot be written: File too large - free some space and run the same command again" in message
    assert same == "True"
    with open_log(tmp_path / "log", sidecar=sidecar) as log:
        assert numbers(log) == [0, 2]


def test_records_are_dropped_and_the_log_continues(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "log"
    real.parent.mkdir()
    (tmp_path / "link").symlink_to(real)
    written(tmp_path / "link", 4, True)
    real.chmod(0o640)
    with open_log(tmp_path / "link", sidecar=True) as log:
        log.keep(lambda record: record["n"] % 2 == 1)
        assert numbers(log) == [1, 3]
        log.append({"n": 5})
    with open_log(real, sidecar=True) as log:
        assert numbers(log) == [1, 3, 5]
    assert (tmp_path / "link").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(real.parent)) == ["log", "log.mpg.json"]


@BOTH
def test_a_place_that_cannot_be_written(tmp_path: Path, sidecar: bool) -> None:
    with (
        pytest.raises(UsageError, match=r"--output .*no/log cannot be written: No such file"),
        open_log(tmp_path / "no" / "log", sidecar=sidecar),
    ):
        pass
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(UsageError, match="is not a regular file"):
            open_log(place, sidecar=sidecar, restart=True)
    assert os.listdir(tmp_path) == ["pipe"]


def test_it_loads_nothing_heavy() -> None:
    code = "import sys, mpg_cli.io.log; print({'torch', 'yaml', 'typer', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"
