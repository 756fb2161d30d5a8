"""`ollama:NAME[:TAG]`: the file that it names, and one message for each name or folder that has none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mpg_cli
from mpg_cli.errors import ModelError
from mpg_cli.models.load import ollama
from mpg_cli.models.load.catalogue import local_model
from mpg_cli.models.load.ollama import find_blob
from tests.support.adapters import tiny_adapter
from tests.support.gguf_models import write_lora, write_model
from tests.support.models import tiny_model
from tests.support.ollama import LIST, blob, manifest, named, pulled

WEIGHTS = b"GGUF weights"
SYSTEM = [("model", WEIGHTS), ("template", b"{{ .Prompt }}"), ("params", b"{}"), ("license", b"MIT")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def refused(name: str) -> str:
    with pytest.raises(ModelError) as caught:
        find_blob(name)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


@pytest.mark.parametrize(
    "file, name, identity",
    [
        ("registry.ollama.ai/library/llama3.2/latest", "llama3.2", "ollama:llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2/1b", "llama3.2:1b", "ollama:llama3.2:1b"),
        ("registry.ollama.ai/library/llama3.2/1B", "LLAMA3.2:1b", "ollama:llama3.2:1B"),
        ("registry.ollama.ai/library/llama3.2/1b", "ollama.com/library/llama3.2:1b", "ollama:llama3.2:1b"),
        ("registry.ollama.ai/me/mario/latest", "me/mario", "ollama:me/mario:latest"),
        ("hf.co/x/Y-GGUF/Q4_K_M", "hf.co/x/Y-GGUF:Q4_K_M", "ollama:hf.co/x/Y-GGUF:Q4_K_M"),
        ("localhost:5000/x/y/latest", "localhost:5000/x/y", "ollama:localhost:5000/x/y:latest"),
    ],
)
def test_a_name_is_a_file(file: str, name: str, identity: str, folder: Path) -> None:
    named(folder, file, manifest(folder, SYSTEM))
    found = find_blob(f"ollama:{name}")
    assert (found.id, found.path.read_bytes(), found.notices) == (identity, WEIGHTS, ())
    assert found.path.name == f"sha256-{found.digest}"
    assert ollama.names() == [identity]
    assert find_blob(identity) == found


def test_newer_folders_link_manifests_and_list_one_for_each_runner(folder: Path) -> None:
    named(folder, "registry.ollama.ai/library/new/latest", manifest(folder, [("model", b"old")]))
    of_gguf = manifest(folder, SYSTEM)
    digest = blob(folder, repr(of_gguf).replace("'", '"').encode())
    mlx = manifest(folder, [("tensor", b"1")]) | {"runner": "mlx"}
    for name, entry in (("embedded", of_gguf | {"runner": "ollama"}), ("linked", {"digest": digest})):
        content = {"mediaType": LIST, "manifests": [mlx, entry]}
        named(folder, f"ollama.com/library/{name}/latest", content, "manifests-v2")
        assert find_blob(f"ollama:{name}").path.read_bytes() == WEIGHTS
    target = folder / "blobs" / digest.replace(":", "-")
    link = folder / "manifests-v2" / "ollama.com" / "library" / "new" / "latest"
    link.parent.mkdir()
    link.symlink_to(os.path.relpath(target, link.parent))
    assert find_blob("ollama:new").path.read_bytes() == WEIGHTS
    assert ollama.names() == ["ollama:embedded:latest", "ollama:linked:latest", "ollama:new:latest"]
    named(folder, "ollama.com/library/mlx/latest", {"mediaType": LIST, "manifests": [mlx]}, "manifests-v2")
    assert "ollama:mlx:latest has no weights in GGUF" in refused("ollama:mlx")


def test_without_the_variable_the_usual_places_are_looked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = refused("ollama:llama3.2")
    assert "ollama:llama3.2: there are no models of Ollama here (looked in ~/.ollama/models, " in said
    assert "hint: fetch it with `ollama pull llama3.2:latest`, or set OLLAMA_MODELS" in said
    pulled(tmp_path / ".ollama" / "models", "library/llama3.2/latest", SYSTEM)
    assert find_blob("ollama:llama3.2").path.read_bytes() == WEIGHTS


def test_unknown_names_and_tags_name_those_that_exist(folder: Path) -> None:
    assert f"there are no models of Ollama here (looked in {folder})" in refused("ollama:llama3.2")
    folder.mkdir()
    assert "hint: it has none yet; fetch it with `ollama pull llama3.2:1b`" in refused("ollama:llama3.2:1b")
    for tag in ("1b", "3b"):
        pulled(folder, f"library/llama3.2/{tag}", SYSTEM)
    said = refused("ollama:lama3.2")
    assert f"Ollama has no model lama3.2 in {folder}; did you mean llama3.2?" in said
    assert "hint: it has llama3.2:1b, llama3.2:3b; fetch it with `ollama pull lama3.2:latest`" in said
    said = refused("ollama:llama3.2")
    assert "Ollama's llama3.2 has no tag 'latest' on this disk" in said
    assert "hint: choose from 1b, 3b; or fetch it with `ollama pull llama3.2:latest`" in said


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b/c/d",
        "../../etc/passwd",
        "a..b",
        "a b",
        ":latest",
        "a:",
        "a:b:c",
        "/etc/passwd",
        "x" * 200,
        "a\n",
    ],
)
def test_a_name_that_ollama_cannot_have(name: str, folder: Path) -> None:
    folder.mkdir()
    assert "is not a model of Ollama\nhint: give ollama:NAME[:TAG]" in refused(f"ollama:{name}")


def test_what_else_a_model_has_is_named(folder: Path) -> None:
    layers = [*SYSTEM, ("adapter", b"lora"), ("projector", b"eyes"), ("system", b"You are Mario.")]
    pulled(folder, "me/mario/latest", layers)
    adapter, pictures, persona = find_blob("ollama:me/mario").notices
    assert "has a LoRA adapter, which is not applied; add it with --adapter " in adapter
    assert Path(adapter.rpartition(" ")[2]).read_bytes() == b"lora"
    assert "also reads pictures; its text model alone is used" in pictures
    assert "`ollama show --modelfile me/mario:latest > Modelfile`" in persona


@pytest.mark.parametrize(
    "layers, said",
    [
        ([], "has no weights here: it runs on Ollama's servers"),
        ([("tensor", b"1"), ("json", b"{}")], "has its weights as single tensors, not as GGUF"),
        ([("model", b"1"), ("model", b"2")], "has weights in 2 files, must be one GGUF file"),
    ],
)
def test_models_without_one_gguf_file(layers: list[tuple[str, bytes]], said: str, folder: Path) -> None:
    pulled(folder, "library/x/latest", layers)
    assert f"ollama:x:latest {said}\nhint: choose a model with weights in GGUF" in refused("ollama:x")


DEEP = b"[" * 100_000
DIGESTS = [
    "sha256:../../../etc/passwd",
    "../x",
    "sha256:" + "0" * 63,
    "md5:" + "0" * 64,
    7,
    None,
    "0" * 64 + "\n",
]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (DEEP, "is damaged"),
        (b" " * (5 << 20), "is larger than 4 MiB"),
        *[
            (
                {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": one}]},
                "digest is not",
            )
            for one in DIGESTS
        ],
        ({"layers": 7}, "has no weights here"),
        ({"layers": [None, "x", {"mediaType": 3}]}, "has no weights here"),
        ({"mediaType": LIST, "manifests": [{"digest": "sha256:/etc/passwd"}]}, "digest is not"),
        ({"mediaType": LIST, "manifests": "x"}, "has no weights in GGUF"),
    ],
)
def test_hostile_manifests(content: Any, said: str, folder: Path) -> None:
    named(folder, "registry.ollama.ai/library/x/latest", content)
    assert said in refused("ollama:x")


def test_files_that_are_gone_or_are_no_files(folder: Path) -> None:
    file = pulled(folder, "library/x/latest", SYSTEM)
    path = find_blob("ollama:x").path
    for make, said in (
        (lambda path: None, "is missing"),
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ):
        for one, what in ((path, "its weights"), (file, "its manifest")):
            kept = one.read_bytes()
            one.unlink()
            make(one)
            if one == path or said != "is missing":
                text = refused("ollama:x")
                assert f"ollama:x:latest: {what} {one} {said}" in text
                assert "hint: fetch it again with `ollama pull x:latest`" in text
            if one.is_dir():
                one.rmdir()
            else:
                one.unlink(missing_ok=True)
            one.write_bytes(kept)


@contextmanager
def as_another_user() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        folder = Path(place, "models")
        monkeypatch.setenv("OLLAMA_MODELS", str(folder))
        file = pulled(folder, "library/x/latest", SYSTEM)
        path = find_blob("ollama:x").path
        for denied, said in (
            (path, f"its weights {path} may not be read"),
            (file, f"its manifest {file} may not be read"),
            (file.parent, f"ollama:x may be in {file.parent}, which may not be read"),
            (folder, f"ollama:x may be in {folder}/manifests"),
        ):
            mode = denied.stat().st_mode
            denied.chmod(0)
            with as_another_user():
                text = refused("ollama:x")
            denied.chmod(mode)
            assert said in text
            assert "sudo usermod -aG ollama $USER" in text


def test_a_model_of_ollama_loads_with_its_adapter_and_counts_as_the_base_of_personas(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model and adapter are read from the blobs, and a persona names the model as Ollama does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny_model("llama")
    peft = tiny_adapter(tmp_path / "peft", base=model)
    lora = write_lora(tmp_path / "lora.gguf", peft, model)
    whole = write_model(tmp_path / "model.gguf", "llama", model)
    pulled(folder, "me/tiny/latest", [("model", whole.read_bytes()), ("adapter", lora.read_bytes())])
    (notice,) = find_blob("ollama:me/tiny").notices
    named = notice.rpartition(" ")[2]
    (tmp_path / "p.yaml").write_text(
        "name: ours\nuse: adapter\nadapters: [{base: 'ollama:me/tiny', path: lora.gguf}]\n"
        "---\nname: plain\nprompt: ab\n"
    )
    shared: dict[str, Any] = {"model": "ollama:me/tiny", "device": "cpu", "dtype": "float32"}
    replies: list[str] = []
    for personas, adapters in ((None, [named]), ("ours", []), (None, [str(peft)]), ("plain", [])):
        with mpg_cli.load(personas, adapters=adapters, persona_dirs=[tmp_path], **shared) as speaker:
            assert speaker.model == "ollama:me/tiny:latest"
            replies.append(speaker.reply("abba", seed=3, max_tokens=12).text)
    assert replies[0] == replies[1] == replies[2] != replies[3]
    info = local_model("ollama:me/tiny")
    assert info is not None
    assert (info.id, info.source, info.problem) == ("ollama:me/tiny:latest", "converted", None)
