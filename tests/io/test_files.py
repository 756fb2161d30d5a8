"""Files and folders are replaced whole or not at all, and a lock keeps others out."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.files import lock, staged_folder, swapped_in, write_atomic
from tests.io.processes import KILLS, start


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


# -- one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["täglich\n", b"\x00\xff", ""])
def test_a_file_is_made_and_replaced(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "file"
    for _ in range(2):
        write_atomic(file, content)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
        file.write_text("other")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("mask", "expected"), [(0o000, 0o644), (0o022, 0o644), (0o027, 0o640), (0o077, 0o600)]
)
def test_a_new_file_has_the_permissions_that_the_umask_leaves(
    tmp_path: Path, umask: None, mask: int, expected: int
) -> None:
    os.umask(mask)
    write_atomic(tmp_path / "file", "x")
    assert mode(tmp_path / "file") == expected


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o666, 0o755])
def test_permissions_stay(tmp_path: Path, umask: None, kept: int) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(kept)
    write_atomic(file, "x")
    assert mode(file) == kept


def test_links_stay_links(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    real.parent.mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(real)
    for content in ("new", "replaced"):  # at first the link leads nowhere
        write_atomic(tmp_path / "one", content)
        assert real.read_text() == content
        assert (tmp_path / "one").is_symlink()
        assert (tmp_path / "two").is_symlink()
        assert os.listdir(real.parent) == ["real"]


def test_a_name_of_the_longest_kind(tmp_path: Path) -> None:
    file = tmp_path / ("ü" * 127)
    write_atomic(file, "x")
    assert file.read_text() == "x"


def test_what_is_written_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before the rename, the folder after it."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append(
            "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes"
        )
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "file", b"12345")
    assert done == ["5 bytes", "rename", "folder"]


def test_whoever_kills_it_finds_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mpg_cli.io.files import write_atomic\n"
        "print('begun', flush=True)\n"
        "while True:\n"
        "    for letter in 'ab': write_atomic(Path(sys.argv[1]), letter * 3_000_000)"
    )
    file, draw = tmp_path / "file", random.Random(5)
    write_atomic(file, "a" * 3_000_000)
    for _ in range(KILLS):
        process = start(code, file)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert file.read_text() in ("a" * 3_000_000, "b" * 3_000_000)
    left = {path.name for path in tmp_path.iterdir()} - {"file"}
    assert all(name.startswith(".file.") and name.endswith(".part") for name in left)


def test_writers_and_readers_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    contents = [letter * 100_000 for letter in "abcd"]
    write_atomic(file, contents[0])
    problems: list[BaseException] = []

    def write(content: str) -> None:
        try:
            for _ in range(25):
                write_atomic(file, content)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert file.read_text() in contents
    assert problems == []
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes here")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: half of the text is written, then no more."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from mpg_cli.errors import MpgError; from mpg_cli.io.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomic(Path(sys.argv[1]), 'x' * 2000, error=MpgError, what='it', hint='make room')\n"
        "except MpgError as error: print(type(error).__name__, error.message, error.hint, sep='; ')"
    )
    (tmp_path / "file").write_text("old")
    out, err = start(code, tmp_path / "file").communicate(timeout=60)
    assert (out, err) == ("MpgError; it cannot be written: File too large; make room\n", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_the_error_is_of_the_requested_class(tmp_path: Path) -> None:
    file = tmp_path / "no" / "file"
    with pytest.raises(UsageError, match=r"no/file cannot be written: No such file or directory"):
        write_atomic(file, "x")
    with pytest.raises(MpgError, match="the profile cannot be written") as caught:
        write_atomic(file, "x", error=MpgError, what="the profile", hint="another folder")
    assert (type(caught.value), caught.value.hint) == (MpgError, "another folder")
    with pytest.raises(FileNotFoundError):
        write_atomic(file, "x", error=None)
    assert os.listdir(tmp_path) == []
    write_atomic(file, "x", make_folder=True)
    assert file.read_text() == "x"


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for place in (pipe, folder, Path(os.devnull)):
        with pytest.raises(UsageError, match="it is not a regular file"):
            write_atomic(place, "x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_write_protection_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    with pytest.raises(UsageError, match="Permission denied"):
        write_atomic(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "old"


# -- folders -------------------------------------------------------------------------------------


def replace_folder(target: Path, content: str, error: BaseException | None = None) -> None:
    with staged_folder(target) as staged:
        (staged / "new").write_text(content)
        with swapped_in(staged, target):
            assert (target / "new").read_text() == content
            if error is not None:
                raise error


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_a_folder_is_made_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "below" / "folder"
    replace_folder(target, "1")
    (target / "extra").touch()
    replace_folder(target, "2")
    assert contents(tmp_path) == {"below/folder/new": "2"}
    assert os.listdir(target.parent) == ["folder"]


@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "a folder there"])
@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()], ids=["error", "interruption"])
def test_a_failure_brings_the_old_folder_back(tmp_path: Path, there: bool, error: BaseException) -> None:
    target = tmp_path / "folder"
    if there:
        target.mkdir()
        (target / "old").write_text("kept")
    with pytest.raises(type(error)):
        replace_folder(target, "1", error)
    assert contents(tmp_path) == ({"folder/old": "kept"} if there else {})
    with pytest.raises(type(error)), staged_folder(target):
        raise error
    assert os.listdir(tmp_path) == (["folder"] if there else [])


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for left in (".folder.new", ".folder.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "torn").write_text("x")
    with pytest.raises(ValueError, match="no"):
        replace_folder(target, "1", ValueError("no"))
    assert contents(tmp_path) == {"folder/torn": "x"}  # it was killed between the two renames
    replace_folder(target, "2")
    assert contents(tmp_path) == {"folder/new": "2"}


# -- the lock ------------------------------------------------------------------------------------

TAKEN = UsageError("taken")
HOLD = (
    "import sys, time; from pathlib import Path; from mpg_cli.errors import UsageError\n"
    "from mpg_cli.io.files import lock\n"
    "held = lock(Path(sys.argv[1]), UsageError('taken')); print('held', flush=True); time.sleep(60)"
)


def test_one_process_has_the_lock_until_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = start(HOLD, file)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    for _ in range(2):
        with pytest.raises(UsageError, match="taken"):
            lock(file, TAKEN)
    process.kill()
    process.communicate()
    lock(file, TAKEN).close()
    with lock(file, TAKEN), pytest.raises(UsageError, match="taken"):
        lock(file, TAKEN)
    lock(file, TAKEN).close()


def test_what_stands_in_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("content")
    with lock(tmp_path / "lock", TAKEN) as stream:
        assert stream.read() == b"content"
    with pytest.raises(OSError) as caught:
        lock(tmp_path / "no" / "lock", TAKEN)
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("end", ["", "os.unlink(file)"], ids=["kept", "removed"])
def test_no_two_hold_it_at_once(tmp_path: Path, end: str) -> None:
    """Each holder makes a file that must not be there yet; some remove the lock while they hold it."""
    code = (
        "import os, sys, time; from pathlib import Path; from mpg_cli.errors import UsageError\n"
        "from mpg_cli.io.files import lock\n"
        "file, busy, rounds = Path(sys.argv[1]), Path(sys.argv[2]), 0\n"
        "while rounds < 60:\n"
        "    try: held = lock(file, UsageError('taken'))\n"
        "    except UsageError: time.sleep(0.0005); continue\n"
        "    os.close(os.open(busy, os.O_CREAT | os.O_EXCL)); os.unlink(busy)\n"
        f"    rounds += 1; {end or 'pass'}; held.close()\n"
    )
    processes = [start(code, tmp_path / "lock", tmp_path / "busy") for _ in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")


def test_a_lock_that_was_removed_meanwhile_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes it after we open it and before we lock it: what counts is the file of that name."""
    fcntl = pytest.importorskip("fcntl")
    file, flock, removed = tmp_path / "lock", fcntl.flock, list[Path]()

    def late(stream: Any, how: int) -> None:
        if not removed:
            removed.append(file)
            file.unlink()
        flock(stream, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock(file, TAKEN), pytest.raises(UsageError, match="taken"):
        lock(file, TAKEN)
