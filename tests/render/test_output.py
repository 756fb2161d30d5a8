"""`--output`: the file appears at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.io.signals import Terminated
from mpg_cli.render.output import OutputFile


def write(path: Path, text: str, error: BaseException | None = None) -> None:
    with OutputFile(path) as stream:
        stream.write(text)
        stream.flush()
        if error is not None:
            raise error


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "reply.txt"
    path.write_text("old")
    with OutputFile(path) as stream:
        stream.write("new\r\n日本\ud800")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == "new\r\n日本?".encode()
    assert os.listdir(tmp_path) == ["reply.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated()])
def test_an_interruption_keeps_the_text_so_far(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "reply.txt"
    with pytest.raises(type(error)):
        write(path, "so f", error)
    assert path.read_text() == "so f"
    with pytest.raises(type(error)):
        write(path, "", error)
    assert path.read_text() == "so f"
    assert os.listdir(tmp_path) == ["reply.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "reply.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="broken"):
        write(path, "new", ValueError("broken"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["reply.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_device_is_written_directly() -> None:
    write(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()


def test_a_missing_folder_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        OutputFile(tmp_path / "no" / "reply.txt")


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout here")
def test_the_name_of_a_pipe_is_written_to() -> None:
    code = (
        "from pathlib import Path; from mpg_cli.render.output import OutputFile\n"
        "with OutputFile(Path('/dev/stdout')) as stream: stream.write('said')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "said"
