"""`mpg models`: local models and the personas that fit them, from their files alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mpg_cli.config.named_models import BUNDLED_FOLDER
from tests.support.hub import snapshot, use_cache

Run = Callable[..., tuple[int, str, str]]

INDEX = '{"weight_map": {"a": "model-2.safetensors"}}'
PERSONAS = """
name: tuned
prompt: You are tuned.
adapters:
  - base: org/small
    repo: someone/lora
---
name: lost
prompt: You are lost.
adapters:
  - base: small
    path: adapters/gone
---
name: whole
adapters:
  - base: small
    checkpoint: someone/whole
---
name: only
use: adapter
adapters:
  - base: elsewhere
    path: adapters/gone
---
name: pair
parts: tuned + lost
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; nothing can be fetched."""
    return use_cache(tmp_path / "hub", monkeypatch)


@pytest.fixture
def run(hub: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> tuple[int, str, str]:
        from mpg_cli.cli.app import main

        code = main(["models", *argv])
        return code, *capsys.readouterr()

    return call


def copied(folder: Path, **config: Any) -> Path:
    """The bundled model with another configuration."""
    shutil.copytree(BUNDLED_FOLDER, folder, dirs_exist_ok=True)
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | config))
    return folder


def rows(run: Run, *argv: str) -> dict[str, Any]:
    code, out, err = run("list", *argv, "--format", "json")
    assert code == 0, err
    return {row["id"]: row for row in json.loads(out)}


def test_the_bundled_model_and_the_library(run: Run) -> None:
    found = rows(run)
    assert list(found) == ["mpg-tiny"]
    row = found["mpg-tiny"]
    assert (row["architecture"], row["context"], row["parameters"]) == ("LlamaForCausalLM", 1024, 1_598_880)
    assert row["in_use"]
    assert row["problem"] is None
    assert {"pirate", "E", "J"} <= set(row["experts"]["adapter"])
    assert row["experts"]["missing"] == row["experts"]["none"] == []


def test_a_mirror_in_the_cache_has_the_adapters_of_its_family(run: Run, hub: Path) -> None:
    copied(snapshot(hub, "mirror/MPG-Tiny"))
    less = snapshot(hub, "other/MPG-tiny")
    copied(less)
    tensors = load_file(less / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".3." not in name}
    save_file(kept, less / "model.safetensors")
    found = rows(run)
    assert "pirate" in found["mirror/MPG-Tiny"]["experts"]["adapter"]
    assert "pirate" in found["other/MPG-tiny"]["experts"]["prompt"]  # it has a layer less


def test_a_cached_model_and_what_fits_it(run: Run, hub: Path, tmp_path: Path) -> None:
    folder = copied(snapshot(hub, "org/small"), max_position_embeddings=77)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "all.yaml").write_text(PERSONAS)
    row = rows(run, "--persona-dir", str(tmp_path / "mine"))["org/small"]
    assert (row["source"], row["revision"], row["context"]) == ("cache", "0a" * 20, 77)
    experts = row["experts"]
    assert (experts["adapter"], experts["checkpoint"]) == (["tuned"], ["whole"])
    assert (experts["missing"], experts["none"]) == (["lost"], ["only"])
    assert "pirate" in experts["prompt"]
    assert not any("pair" in names or "INTJ" in names for names in experts.values())


@pytest.mark.parametrize(
    "spoil, problem",
    [
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "weights as pickle only"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 9), "truncated or damaged"),
        (lambda f: copied(f, quantization_config={"quant_method": "gptq"}), "is quantised (gptq)"),
        (lambda f: copied(f, layer_types=["linear_attention"]), "layers of type linear_attention"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not readable JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json must hold a JSON object"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(INDEX),
            "model-2.safetensors is missing",
        ),
    ],
)
def test_a_model_that_cannot_run_has_a_reason(
    run: Run, hub: Path, spoil: Callable[[Path], Any], problem: str
) -> None:
    spoil(copied(snapshot(hub, "org/bad")))
    assert problem in rows(run)["org/bad"]["problem"]
    code, out, err = run("list", "--format", "table")
    assert (code, err) == (0, "")
    assert f"org/bad: {'has its ' if 'pickle' in problem else ''}" in out


def test_a_folder_of_the_environment_is_in_use(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPG_MODEL", "mine")
    found = rows(run)
    assert [name for name, row in found.items() if row["in_use"]] == [str(folder.resolve())]
    code, out, _ = run("show", "mine")
    assert code == 0
    assert out.splitlines()[0].endswith(f"{folder.resolve()} (in use)")
    monkeypatch.setenv("MPG_MODEL", "org/absent")
    assert "org/absent, the default model, is not on this disk" in run()[2]


def test_a_model_that_is_not_there(run: Run) -> None:
    code, out, err = run("show", "mpg-tinny")
    assert (code, out) == (2, "")
    assert "did you mean mpg-tiny?" in err


@pytest.mark.parametrize("rubble", ["models--a--b", "models--c--d/snapshots", "datasets--e--f/snapshots/1"])
def test_a_broken_cache_is_no_obstacle(run: Run, hub: Path, rubble: str) -> None:
    (hub / rubble).mkdir(parents=True)
    (hub / "models--file").write_text("")
    assert list(rows(run)) == ["mpg-tiny"]


def test_no_cache_at_all(run: Run, hub: Path) -> None:
    hub.rmdir()
    assert list(rows(run)) == ["mpg-tiny"]
    hub.write_text("a file")
    code, out, err = run("list", "--format", "plain")
    assert code == 0
    assert out.startswith("mpg-tiny\t*\tLlamaForCausalLM\t1.6 M\t")
    assert "cache cannot be read" in err


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main\n"
        "print(main(['models']), {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("0 set()\n")
