"""GGUF files as models: where they are given, what the cache keeps, and what is left when that fails."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from mpg_cli.config.conversions import conversions, conversions_dir, find_conversion
from mpg_cli.errors import ModelError, MpgError
from mpg_cli.io.gguf_header import read_header
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load import catalogue
from mpg_cli.models.load.gguf import convert as conversion
from mpg_cli.models.load.gguf.convert import convert, open_gguf
from mpg_cli.models.load.loader import LoadedModel, load_checkpoint, load_drafter, load_model
from mpg_cli.models.load.meta_model import load_meta_model
from mpg_cli.models.load.removal import find_removable
from mpg_cli.personas.base import find_base
from mpg_cli.personas.expression import parse
from mpg_cli.personas.matching import fit
from mpg_cli.personas.registry import Registry, resolve
from tests.support.adapters import tiny_adapter
from tests.support.cli import Cli
from tests.support.gguf_models import tiny, write_model
from tests.support.hub import COMMIT, StubHub, running, use_endpoint
from tests.support.models import log_probs, random_tokens

NAMES = {"general__basename": "Tiny", "general__size_label": "1B", "general__finetune": "Instruct"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mpg" / "models" / "converted"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_model(
        tmp_path / "files" / "Tiny-1B-Instruct.Q8_0.gguf", "llama", tiny("llama"), "Q8_0", **NAMES
    )


def load(name: Path | str, dtype: str = "float32") -> LoadedModel:
    return load_model(str(name), device="cpu", dtype=dtype)


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_a_file_is_converted_once_for_a_dtype(file: Path, cache: Path) -> None:
    texts: list[str] = []
    first = load_model(str(file), device="cpu", dtype="float32", report=texts.append)
    assert texts[-1] == "converting Tiny-1B-Instruct.Q8_0.gguf: 100 %"
    assert any(
        "is Q8_0 (" in notice and "dequantised to float32 it takes" in notice for notice in first.notices
    )
    made = folders(cache)
    texts.clear()
    again = load_model(str(file), device="cpu", dtype="float32", report=texts.append)
    assert (texts, folders(cache)) == ([], made)
    tokens = random_tokens()
    assert torch.equal(log_probs(first.model, tokens), log_probs(again.model, tokens))
    assert load(file, "bfloat16").model.dtype == torch.bfloat16
    assert len(folders(cache)) == 2
    assert load(file, "auto").dtype.reason == "a small model on the CPU; the file is Q8_0"


def test_a_conversion_is_a_plain_folder(file: Path, cache: Path) -> None:
    loaded = load(file)
    (folder,) = folders(cache)
    config = json.loads((folder / "config.json").read_text())
    assert config["_name_or_path"] == "Tiny-1B-Instruct"
    assert "quantization_config" not in config
    assert loaded.end_tokens == {257}
    shutil.copytree(folder, file.parent / "copy")
    assert torch.equal(
        log_probs(load(file.parent / "copy").model, random_tokens()), log_probs(loaded.model, random_tokens())
    )


def test_generate_takes_a_file_in_bfloat16(
    file: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is that of the folder in the cache, whose weights are those of float32, rounded."""
    mpg = Cli(capsys, monkeypatch)

    def reply(model: Path) -> dict[str, Any]:
        options = ("--device", "cpu", "--dtype", "bfloat16", "--seed", "3", "--max-tokens", "12")
        code, out, err = mpg(
            "generate", "-p", "pirate", "--model", model, *options, "--format", "events", "Hi"
        )
        assert code == 0, err
        finished: dict[str, Any] = json.loads(out.splitlines()[-1])
        assert finished["dtype"] == "bfloat16"
        return finished

    found = reply(file)
    (folder,) = folders(cache)
    assert reply(folder)["token_ids"] == found["token_ids"]
    whole = load(file).model.state_dict()
    for name, weight in load_file(folder / "model.safetensors").items():
        assert torch.equal(weight, whole[name].bfloat16())


def test_large_models_are_written_in_shards(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = log_probs(load(file).model, random_tokens())
    shutil.rmtree(cache)
    monkeypatch.setattr(conversion, "SHARD_BYTES", 100_000)
    assert torch.equal(log_probs(load(file).model, random_tokens()), whole)
    assert len(list(folders(cache)[0].glob("*.safetensors"))) > 3


def test_where_a_file_is_given(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.gguf").symlink_to(file)
    shutil.copy(file, tmp_path / "no-suffix")
    ids = {load(name).id for name in (file, file.parent, "files", "files/Tiny-1B-Instruct.Q8_0.gguf")}
    assert ids == {str(file)}
    assert load("link.gguf").id == str(tmp_path / "link.gguf")
    assert load("no-suffix").id == str(tmp_path / "no-suffix")


def test_names_that_are_no_model(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, file.parent / "other.gguf")
    with pytest.raises(ModelError, match="has 2 GGUF files") as caught:
        load(file.parent)
    assert caught.value.hint == "give one of them: Tiny-1B-Instruct.Q8_0.gguf, other.gguf"
    with pytest.raises(ModelError, match=r"there is no file .*gone\.gguf"):
        load(tmp_path / "gone.gguf")
    (tmp_path / "x.gguf").write_bytes(b"PK")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        load(tmp_path / "x.gguf")
    for other in ("SmolLM2", "MPG-TINY", " mpg-tiny"):
        with pytest.raises(ModelError, match=r"there is no model '.*'; did you mean (smollm2|mpg-tiny)\?"):
            load(other)
    os.mkfifo(tmp_path / "pipe.gguf")
    os.mkfifo(tmp_path / "pipe")
    for pipe in ("pipe.gguf", "pipe"):  # nothing ever writes to it
        with pytest.raises(ModelError, match=r"is neither a file nor a folder"):
            load(tmp_path / pipe)
        assert catalogue.local_model(str(tmp_path / pipe)) is None
    with pytest.raises(ModelError, match="--revision needs a model of the hub"):
        load_model(str(file), revision="main")


@pytest.fixture
def hub(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (file.parent / "big").mkdir()
    shutil.copy(file, file.parent / "big" / "tiny.F16.gguf")
    with running(StubHub({"some/tiny-GGUF": file.parent})) as stub:
        use_endpoint(stub.url, monkeypatch)
        yield stub


def test_a_file_of_the_hub(hub: StubHub, file: Path, tmp_path: Path) -> None:
    loaded = load(f"some/tiny-GGUF:{file.name}")
    assert (loaded.id, loaded.revision) == (f"some/tiny-GGUF:{file.name}", COMMIT)
    fetched = [line for line in hub.requests if line.startswith("GET") and "resolve" in line]
    assert all(file.name in line for line in fetched)
    load("some/tiny-GGUF:big/tiny.F16.gguf")
    (fetched_file,) = (tmp_path / "hub-cache").rglob(file.name)
    os.truncate(fetched_file.resolve(), 1000)
    with pytest.raises(ModelError, match="is truncated") as caught:
        load(f"some/tiny-GGUF:{file.name}")
    again = f"mpg models remove some/tiny-GGUF, then mpg models get some/tiny-GGUF:{file.name}"
    assert caught.value.hint == again
    for outside in ("../x.gguf", "/etc/x.gguf", "a//x.gguf", "a\\..\\x.gguf", "./x.gguf"):
        with pytest.raises(ModelError, match="must be a path inside the repository"):
            load(f"some/tiny-GGUF:{outside}")
    with pytest.raises(ModelError, match="has no GGUF file f16") as caught:
        load("some/tiny-GGUF:f16")
    assert caught.value.hint == "choose one of big/tiny.F16.gguf"
    with pytest.raises(ModelError, match=r"has no config.json but GGUF files: .*big/tiny.F16.gguf") as caught:
        load("some/tiny-GGUF")
    assert "--model some/tiny-GGUF:Tiny-1B-Instruct.Q8_0.gguf" in str(caught.value.hint)


def test_drafters_checkpoints_and_shapes(file: Path) -> None:
    base = load(file)
    assert load_drafter(str(file), base).id == str(file)
    assert load_checkpoint(str(file), base).id == str(file)
    meta = load_meta_model(str(file))
    shapes = {name: weight.shape for name, weight in meta.model.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in base.model.state_dict().items()}


@pytest.mark.parametrize("base", ["org/Tiny-1B-Instruct", "Tiny-1B-Instruct"])
def test_an_adapter_of_the_model_is_used_on_its_file(base: str, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "personas"
    tiny_adapter(folder / "lora", base=tiny("llama"), base_model_name_or_path=base)
    (folder / "p.yaml").write_text(f"name: p\nadapters: [{{base: {base}, path: lora}}]\n")
    registry = Registry.load([folder])
    blend = resolve(parse("p"), registry)
    nameless = Path(shutil.copy(file, tmp_path / "model.gguf"))  # its metadata have the name
    for path in (file, nameless, file.parent):
        loaded = load(path)
        said: list[str] = []
        (expert,) = find_experts(blend, (), loaded, pytest.fail, said.append)
        assert expert.kind == "adapter"
        assert "by shapes alone" not in "".join(said)
        assert fit(registry.get("p"), find_base(str(path))).kind == "adapter"
        assert fit(registry.get("p"), find_base(loaded.id)).kind == "adapter"


def test_conversions_are_listed_and_removed(file: Path, cache: Path) -> None:
    before = catalogue.local_model(str(file))
    assert before is not None
    assert (before.source, before.dtype, before.architecture, before.context) == (
        "file",
        "Q8_0",
        "llama",
        256,
    )
    load(file)
    load(file, "bfloat16")
    (info, other) = catalogue.converted()
    assert (info.id, info.source, info.problem, other.id) == (str(file), "converted", None, str(file))
    assert info.parameters == before.parameters
    assert str(file) in catalogue.local_models(str(file)).ids
    found = catalogue.find(str(file.parent))
    assert found is not None
    assert found.source == "converted"
    removable = find_removable(str(file))
    find_removable(str(file)).remove()
    removable.remove()  # another process was quicker
    assert catalogue.converted() == []
    assert file.is_file()


def test_a_moved_file_keeps_its_conversion(file: Path, tmp_path: Path, cache: Path) -> None:
    load(file)
    moved = file.rename(tmp_path / "moved.gguf")
    made = folders(cache)
    assert find_conversion(str(moved)) is None
    load(moved)
    assert folders(cache) == made
    assert [one.id for one in conversions()] == [str(moved)]


@pytest.mark.parametrize("source", ["", "{", "[]", "{}", '{"id": "x", "quantisation": "F16"}'])
def test_a_conversion_whose_description_is_damaged_is_made_anew(file: Path, cache: Path, source: str) -> None:
    load(file)
    (folder,) = folders(cache)
    (folder / "source.json").write_text(source)
    assert not any(one.complete for one in conversions())
    load(file)
    assert [(one.id, one.complete) for one in conversions()] == [(str(file), True)]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_conversion_with_a_damaged_file_is_made_anew(file: Path, cache: Path, name: str) -> None:
    whole = log_probs(load(file).model, random_tokens())
    (folder,) = folders(cache)
    os.truncate(folder / name, 10)
    info = catalogue.local_model(str(file))
    assert info is not None
    assert info.source == "file"
    assert torch.equal(log_probs(load(file).model, random_tokens()), whole)
    (folder / name).unlink()
    assert torch.equal(log_probs(load(file).model, random_tokens()), whole)
    assert [one.complete for one in conversions()] == [True]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No process writes more than this into a file: OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_conversion_in_a_cache_that_takes_nothing_serves_a_moved_file(file: Path, tmp_path: Path) -> None:
    load(file)
    moved = file.rename(tmp_path / "moved.gguf")
    with largest_file(0):
        assert load(moved).id == str(moved)
    assert [one.id for one in conversions()] == [str(file)]


@pytest.mark.parametrize("size", [1_000, 20_000, 200_000])
def test_a_disk_that_is_full_too_soon_is_one_message(file: Path, cache: Path, size: int) -> None:
    with largest_file(size), pytest.raises(ModelError, match=r"cannot be converted: .*File too large"):
        load(file)
    assert folders(cache) == []
    load(file)


def test_other_weights_under_the_same_name_are_converted_anew(file: Path, cache: Path) -> None:
    load(file)
    model = tiny("llama")
    model.model.layers[2].mlp.up_proj.weight.mul_(1.5)
    write_model(file, "llama", model, "Q8_0", **NAMES)
    load(file)
    assert len(folders(cache)) == 2


def test_a_full_disk_is_found_first(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"takes .* as float32, and the disk of .* has 1 MB left"):
        load(file)
    assert folders(cache) == []


def test_a_cache_that_cannot_be_written(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(ModelError, match="cannot be converted: Not a directory") as caught:
        load(file)
    assert "XDG_CACHE_HOME" in str(caught.value.hint)


CONVERT = """
import sys, torch
from pathlib import Path
from mpg_cli.models.load.gguf.convert import convert, open_gguf
def report(text):
    print(text, flush=True)
    sys.stdin.readline()
convert(open_gguf(Path(sys.argv[1]), sys.argv[1]), torch.float32, report)
"""


def process(file: str) -> subprocess.Popen[str]:
    """A process that stops at the first message about its progress."""
    command = [sys.executable, "-c", CONVERT, file]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_two_processes_convert_once_and_a_killed_one_leaves_nothing(file: Path, cache: Path) -> None:
    first = process(str(file))
    assert first.stdout is not None
    assert first.stdout.readline().startswith("converting")
    texts: list[str] = []

    def report(text: str) -> None:
        texts.append(text)
        if text.startswith("waiting for another process") and len(texts) == 1:
            assert conversions() == []
            first.kill()
            first.wait(60)

    convert(open_gguf(file, str(file)), torch.float32, report)
    assert texts[0].startswith("waiting for another process")
    assert texts[-1].endswith("100 %")
    assert [one.id for one in conversions()] == [str(file)]
    assert len(folders(cache)) == 1


def test_what_a_killed_process_left_of_another_file_is_removed(file: Path, cache: Path) -> None:
    left = cache / ".other-float32.new"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(bytes(10))
    load(file)
    assert not left.exists()


INTERRUPTED = """
import os, sys
from safetensors import torch as files
from mpg_cli.__main__ import main
number = int(sys.argv.pop())
def save_file(*arguments, **options):
    os.kill(os.getpid(), number)
files.save_file = save_file
sys.exit(main())
"""


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(file: Path, cache: Path, number: int, code: int) -> None:
    """The signal comes when the weights are to be written."""
    command = [sys.executable, "-c", INTERRUPTED, "generate", "-p", "pirate", "--model", str(file), "Hi"]
    done = subprocess.run([*command, str(int(number))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in cache.iterdir()] == [".lock"]
    load(file)


def test_mutated_files_load_or_fail_with_one_message(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    head = min(tensor.start for tensor in read_header(file).tensors)
    keys = data.index(b"tokenizer.ggml.model")  # before are the numbers of the architecture
    messages = []
    for seed in range(200):
        draw = random.Random(seed)
        changed = bytearray(data)
        end = keys if seed % 2 else head
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(24, end)] ^= 1 << draw.randrange(8)
        if seed % 10 == 0:
            del changed[draw.randrange(len(changed)) :]
        path = tmp_path / "mutated.gguf"
        path.write_bytes(changed)
        began = time.perf_counter()
        try:
            folder = convert(open_gguf(path, "x"), torch.float32)
            load(folder)
        except MpgError as error:
            messages.append(error.message)
        assert time.perf_counter() - began < 20, seed
    assert len(messages) > 50
    assert all(len(message) < 1000 for message in messages)
    assert not list(conversions_dir().glob(".*.new"))
