"""`mpg doctor`: a sound installation passes, and every fault is reported with its remedy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.config.paths import config_file
from mpg_cli.diagnostics import engine, library, machine, places, software
from mpg_cli.diagnostics.check import Check, anonymous, run
from mpg_cli.engine.events import Finished
from mpg_cli.io.terminal import Streams
from mpg_cli.models.load import catalogue
from mpg_cli.personas.registry import Registry
from tests.support.replies import reply

Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Exit code, and the checks by section and name."""

    def call(*argv: str) -> tuple[int, dict[str, Any]]:
        from mpg_cli.cli.app import main

        code = main(["doctor", "--device", "cpu", "--format", "json", *argv])
        out, err = capsys.readouterr()
        assert err == ""
        return code, {f"{c['section']}/{c['name']}": c for c in json.loads(out)["checks"]}

    return call


def test_a_sound_installation_has_no_problem(doctor: Doctor) -> None:
    code, checks = doctor()
    assert code == 0
    assert not [c for c in checks.values() if c["status"] == "problem"]
    assert checks["machine/dtype"]["message"] == "float32 (a small model on the CPU)"
    assert checks["engine/exact rule"]["status"] == "ok"
    assert checks["engine/merged drafter"]["status"] == "ok"
    assert checks["personas/adapters"]["message"] == "37 here, 0 to download, none missing"
    assert checks["model/in use"]["message"].startswith("mpg-tiny: LlamaForCausalLM, 1,598,880 parameters")


def test_text_is_a_list_with_marks() -> None:
    command = [sys.executable, "-m", "mpg_cli", "doctor", "--no-self-check", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nmachine\n  ✓ device " in done.stdout
    assert "engine" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 problems and ")
    assert str(Path.home()) + "/" not in done.stdout.replace(str(Path.cwd()), "")


def test_faults_are_problems_with_a_remedy(doctor: Doctor, tmp_path: Path) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text("modle: x\n")
    (tmp_path / "broken.yaml").write_text("name: broken\nprompt: [\n")
    (tmp_path / "lost.yaml").write_text(
        "name: lost\nadapters:\n  - base: mpg-tiny\n    path: adapters/gone\n"
        "---\nname: pirate\nprompt: Mine.\n"
    )
    code, checks = doctor("--no-self-check", "--persona-dir", str(tmp_path))
    assert code == 1
    wrong = {name: c for name, c in checks.items() if c["status"] == "problem"}
    assert set(wrong) == {"files/config file", "personas/broken file", "personas/adapter"}
    assert "did you mean model?" in wrong["files/config file"]["message"]
    assert "adapters/gone (for mpg-tiny) does not exist" in wrong["personas/adapter"]["message"]
    assert all(c["hint"] for c in wrong.values())
    assert "pirate" in checks["personas/hidden"]["message"]


@pytest.mark.parametrize(
    "name, status",
    [
        *(("org/absent", "note"), ("org/absent:x.gguf", "note"), ("", "problem"), ("mpg-tiny", "ok")),
        *(("/nowhere/at/all", "problem"), ("absent.gguf", "problem"), ("ollama:absent", "problem")),
    ],
    ids=str,
)
def test_the_model_in_use(doctor: Doctor, tmp_path: Path, name: str, status: str) -> None:
    code, checks = doctor("--no-self-check", "--model", name or str(tmp_path))
    assert checks["model/in use"]["status"] == status
    assert code == (1 if status == "problem" else 0)


def test_a_model_that_does_not_fit_is_a_warning() -> None:
    huge = replace(catalogue.bundled(), parameters=10**15)
    found = {check.name: check for check in machine.look(huge, "cpu", "float32")}
    assert found["memory"].status == "warning"
    assert "the model's weights take" in found["memory"].message


def test_a_device_that_is_not_there_is_a_problem(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = doctor("--no-self-check", "--device", "cuda:77")
    assert code == 1
    assert "cuda:77" in checks["machine/machine"]["message"]
    from mpg_cli.cli.app import main

    assert main(["doctor", "--device", "abacus"]) == 2
    assert "unknown device 'abacus' (choose from auto, " in capsys.readouterr().err


def test_an_engine_that_computes_something_else_is_found() -> None:
    """A drafted reply that is not the token-by-token one."""
    *_, drafted = reply(["Arr. "])
    assert isinstance(drafted, Finished)
    other = replace(drafted, token_ids=(*drafted.token_ids[:2], 99))
    found = {check.name: check for check in engine.compare(drafted, other)}
    assert found["exact rule"].status == "problem"
    assert found["exact rule"].message == "drafted text differs from token-by-token text at token 2"
    assert {check.status for check in engine.compare(drafted, drafted)} == {"ok"}


def test_an_old_or_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    real = metadata.version

    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "transformers" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {check.name: check for check in software.look()}
    assert found["transformers"].status == "problem"
    assert found["transformers"].message.startswith("0.1, mpg needs ")
    assert (found["peft"].status, found["peft"].hint) == ("note", "pip install 'mpg-cli[train]'")


def test_an_adapter_of_the_hub_is_to_be_fetched(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text("name: far\nadapters:\n  - base: x\n    repo: nobody/nothing-here\n")
    found = list(library.look(Registry.load([tmp_path])))
    assert [check.status for check in found if check.name == "adapter"] == ["note"]


def test_a_cache_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    found = {check.name: check for check in places.look([], {})}
    assert found["profiles of mpg tune"].status == "warning"
    assert "is a file" in found["profiles of mpg tune"].message


def test_encodings_other_than_utf8_are_a_warning() -> None:
    class Latin:
        encoding = "iso8859-1"

    streams = replace(Streams.current(), stdout=Latin())  # type: ignore[arg-type]
    found = {check.name: check for check in machine.look_at_terminal(streams)}
    assert found["encoding"].status == "warning"


def test_the_network_is_used_only_on_request(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # no server listens
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        code, checks = doctor("--no-self-check")
        assert (code, "network/hub" in checks) == (0, False)
        code, checks = doctor("--no-self-check", "--network")
    assert code == 1
    assert "cannot be reached" in checks["network/hub"]["message"]


def test_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    from huggingface_hub import constants

    from mpg_cli.diagnostics import network

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        assert [check.status for check in network.look()] == ["ok"]
    finally:
        server.shutdown()


def test_no_home_and_no_user_name_in_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("USER", "alice")
    assert anonymous("/home/alice/x: 1, /home/alice") == "~/x: 1, ~"
    assert anonymous("/home/alice2/x, /mnt/alice/y, malice") == "/home/alice2/x, /mnt/USER/y, malice"


def test_a_check_that_breaks_is_a_problem_and_the_rest_runs() -> None:
    def look() -> Any:
        yield Check("a", "first", "ok", "")
        raise ZeroDivisionError("by zero")

    first, second = run("a", look)
    assert (first.name, second.status, second.message) == ("first", "problem", "ZeroDivisionError: by zero")
