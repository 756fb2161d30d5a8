"""Which expert a persona becomes on a model, by names and by what is on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.personas.base import Base, find_base, model_names
from mpg_cli.personas.matching import best, fit, state
from mpg_cli.personas.schema import Persona, load_file

FILE = """
name: plain
prompt: You are plain.
---
name: tuned
prompt: You are tuned.
adapters:
  - base: other
    path: adapters/other
  - base: tiny
    path: adapters/tiny
  - base: tiny
    path: adapters/second
---
name: strict
use: adapter
adapters:
  - base: org/big
    repo: someone/big-lora
    subfolder: epoch
---
name: spoken
prompt: You are spoken.
use: both
adapters:
  - base: tiny
    path: adapters/tiny
---
name: whole
adapters:
  - base: tiny
    checkpoint: whole
---
name: silent
prompt: You are silent.
use: prompt
adapters:
  - base: tiny
    path: adapters/tiny
"""


@pytest.fixture
def personas(tmp_path: Path) -> dict[str, Persona]:
    (tmp_path / "all.yaml").write_text(FILE)
    return {persona.name: persona for persona in load_file(tmp_path / "all.yaml")}


def test_a_model_goes_by_its_id_or_its_folder(tmp_path: Path) -> None:
    assert model_names("/models/tiny") == {"/models/tiny", "tiny"}
    assert model_names("org/big") == {"org/big", "big"}
    (tmp_path / "abc123").mkdir()
    (tmp_path / "big").symlink_to(tmp_path / "abc123")
    assert {"big", "abc123", str(tmp_path / "big")} <= find_base(str(tmp_path / "big")).names


def test_its_configuration_counts_where_its_names_say_nothing() -> None:
    nothing = ("/x/model", "/x/0a0a0a0a", "/x/7b")
    runs = (
        *("/x/pirate", "/x/checkpoint-500", "/x/model_sft", "/x/fine-tuned-model", "/x/run1", "/x/final"),
        *("/runs/model", "/out/sft/model", "/x/best-model"),
    )
    for name, counts in (*((one, True) for one in nothing), *((one, False) for one in runs)):
        base = Base(model_names(name), own="org/big")
        assert not base.has_name("org/big")
        assert not base.is_of_family("org/big")
        assert base.is_configured_as("mirror/big-4bit") == counts
        assert not base.is_configured_as("org/small")


def test_the_first_entry_with_a_name_of_the_model_counts(personas: dict[str, Persona]) -> None:
    match = best(personas["tuned"], Base(model_names("/models/tiny")))
    assert match is not None
    assert (match.entry.path, match.by) == ("adapters/tiny", "name")
    assert best(personas["tuned"], Base(model_names("org/big"))) is None


@pytest.mark.parametrize(
    "name, on_tiny, on_big",
    [
        ("plain", "prompt", "prompt"),
        ("tuned", "adapter", "prompt"),
        ("strict", None, "adapter"),
        ("spoken", "both", None),
        ("whole", "checkpoint", None),
        ("silent", "prompt", "prompt"),
    ],
)
def test_kinds(personas: dict[str, Persona], name: str, on_tiny: str | None, on_big: str | None) -> None:
    assert fit(personas[name], Base(model_names("tiny"))).kind == on_tiny
    assert fit(personas[name], Base(model_names("org/big"))).kind == on_big


def test_what_is_on_the_disk(
    personas: dict[str, Persona], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    local, remote = personas["tuned"].adapters[1], personas["strict"].adapters[0]
    whole = personas["whole"].adapters[0]
    assert (state(local), state(remote), state(whole)) == ("missing", "hub", "hub")
    folder = tmp_path / "adapters" / "tiny"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    assert state(local) == "missing"  # half of it
    (folder / "adapter_model.safetensors").write_bytes(b"")
    snapshot = tmp_path / "hub" / "models--someone--big-lora" / "snapshots" / "0a" / "epoch"
    snapshot.mkdir(parents=True)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (snapshot / file).write_text("{}")
    refs = tmp_path / "hub" / "models--someone--big-lora" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0a")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").write_text("{}")
    assert (state(local), state(remote), state(whole)) == ("here", "here", "here")
