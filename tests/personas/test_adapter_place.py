"""What `--adapter` means: a folder here, or a repository of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.commands.values import adapters
from mpg_cli.personas.adapter_place import AdapterPlace, adapter_place


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text, place, name",
    [
        ("someone/pirate", AdapterPlace(None, "someone/pirate"), "pirate"),
        ("someone/pirate/", AdapterPlace(None, "someone/pirate"), "pirate"),
        ("some-1/p_x.v2", AdapterPlace(None, "some-1/p_x.v2"), "p_x.v2"),
        ("someone/pirate@main", AdapterPlace(None, "someone/pirate", "main"), "pirate"),
        ("someone/pirate@refs/pr/3", AdapterPlace(None, "someone/pirate", "refs/pr/3"), "pirate"),
        ("someone/lib/a/b", AdapterPlace(None, "someone/lib", None, "a/b"), "b"),
        ("someone/lib/checkpoint-10@0123abcd", AdapterPlace(None, "someone/lib", "0123abcd", "checkpoint-10"),
         "checkpoint-10"),
        ("https://huggingface.co/someone/lib/tree/v1/a", AdapterPlace(None, "someone/lib", "v1", "a"), "a"),
        ("hf.co/someone/pirate", AdapterPlace(None, "someone/pirate"), "pirate"),
        ("./someone/pirate", AdapterPlace(Path("someone/pirate")), "pirate"),
        ("/someone/pirate", AdapterPlace(Path("/someone/pirate")), "pirate"),
        ("../someone/pirate", AdapterPlace(Path("../someone/pirate")), "pirate"),
        ("pirate", AdapterPlace(Path("pirate")), "pirate"),
        ("loras/pirate.gguf", AdapterPlace(Path("loras/pirate.gguf")), "pirate.gguf"),
        ("a b/c", AdapterPlace(Path("a b/c")), "c"),
        ("https://example.org/a/b", AdapterPlace(Path("https:/example.org/a/b")), "b"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_of_the_hub_where_it_can_be(text: str, place: AdapterPlace, name: str) -> None:
    assert adapter_place(text) == place
    assert place.name == name
    assert adapter_place(place.saved) == place


def test_a_folder_here_wins() -> None:
    Path("someone/pirate/checkpoint-1").mkdir(parents=True)
    for text in ("someone/pirate", "someone/pirate/checkpoint-1", "someone/pirate/checkpoint-2"):
        assert adapter_place(text) == AdapterPlace(Path(text))
    for text in ("someone/pirate@main", "hf.co/someone/pirate"):  # that says the hub
        assert adapter_place(text).repo == "someone/pirate"
    saved = adapter_place("someone/pirate").saved
    Path("someone/pirate").rename("moved")
    assert adapter_place(saved).repo == ""  # a chat that was saved never goes to the hub for it


def test_weights_come_last_and_the_same_place_adds_up() -> None:
    texts = ["someone/lib/a@v1:0.5", "someone/lib/a@v1:0.25", "someone/lib/a:-1", "hf.co/someone/lib/a:0.5"]
    assert adapters(texts, 2.0) == (
        (AdapterPlace(None, "someone/lib", "v1", "a"), 1.5),
        (AdapterPlace(None, "someone/lib", None, "a"), -1.0),
    )
