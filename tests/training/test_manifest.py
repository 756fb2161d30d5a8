"""The manifest: what is done stays done until data, settings, base or weights change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.training.manifest import Manifest, digest_of, versions

PLAN = {"rank": 8, "data": "abc", "targets": ["q_proj"]}


def adapter(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(content)
    return folder


def test_an_adapter_is_done_for_its_plan_base_and_weights(tmp_path: Path) -> None:
    place = adapter(tmp_path / "E")
    entry = {"plan": PLAN, "base_digest": "d", "weights": digest_of(place), "heard": None}
    Manifest.read(tmp_path, "base").record("E", entry)
    again = Manifest.read(tmp_path, "base")
    assert again.entry("E") == entry
    assert again.is_done("E", PLAN, "d", place)
    assert not again.is_done("E", PLAN | {"rank": 4}, "d", place)
    assert not again.is_done("E", PLAN, "other", place)
    assert not again.is_done("I", PLAN, "d", place)
    assert not again.is_done("E", PLAN, "d", tmp_path / "gone")
    assert not again.is_done("E", PLAN, "d", adapter(tmp_path / "E", b"others"))


def test_entries_of_other_personas_stay(tmp_path: Path) -> None:
    entry = {"plan": PLAN, "base_digest": None, "weights": None}
    for name in ("I", "E"):
        Manifest.read(tmp_path / "new", "base").record(name, entry)
    data = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert (data["base"], list(data["personas"])) == ("base", ["E", "I"])


@pytest.mark.parametrize("text", ["{", "[]", '{"personas": {"E": {}}}', '{"personas": []}', "\x00"])
def test_another_file_of_that_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match=r"manifest\.json is not a manifest of mpg train"):
        Manifest.read(tmp_path, "base")


def test_the_versions_are_those_that_decide() -> None:
    assert versions().keys() == {"mpg", "torch", "transformers", "peft", "trl"}
