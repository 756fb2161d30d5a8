"""What `--adapter` means: a path here, or a repository of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.errors import AdapterError
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.personas.adapter_place import AdapterPlace, adapter_place, is_repository, repository
from mpg_cli.personas.blending import read_adapters as adapters


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
        *[
            (f"{front}someone/pirate", AdapterPlace(None, "someone/pirate"), "pirate")
            for front in ("https://www.huggingface.co/", "www.huggingface.co/", "hf://", "http://hf.co/")
        ],
        *[
            (f"https://hf.co/someone/pirate/{page}", AdapterPlace(None, "someone/pirate", rev), "pirate")
            for page, rev in [
                ("tree/main", "main"),
                ("tree/refs%2Fpr%2F1", "refs/pr/1"),
                ("tree/refs/pr/1", "refs/pr/1"),
                ("blob/main/adapter_model.safetensors", "main"),
                ("resolve/v1/adapter_config.json?download=true", "v1"),
                ("tree/main#files", "main"),
            ]
        ],
        ("hf.co/x/lib/blob/v1/a/adapter_config.json", AdapterPlace(None, "x/lib", "v1", "a"), "a"),
        ("someone/lib/a/adapter_model.safetensors", AdapterPlace(None, "someone/lib", None, "a"), "a"),
        (" someone/pirate\n", AdapterPlace(None, "someone/pirate"), "pirate"),
        ("some..one/pirate", AdapterPlace(Path("some..one/pirate")), "pirate"),
        ("x" * 5000, AdapterPlace(Path("x" * 5000)), "x" * 5000),
        ("hf.co/someone/pirate", AdapterPlace(None, "someone/pirate"), "pirate"),
        ("./someone/pirate", AdapterPlace(Path("someone/pirate")), "pirate"),
        ("/someone/pirate", AdapterPlace(Path("/someone/pirate")), "pirate"),
        ("../someone/pirate", AdapterPlace(Path("../someone/pirate")), "pirate"),
        ("pirate", AdapterPlace(Path("pirate")), "pirate"),
        ("loras/pirate.gguf", AdapterPlace(Path("loras/pirate.gguf")), "pirate"),
        ("x/lib:pirate.gguf", AdapterPlace(None, "x/lib", None, "pirate.gguf"), "pirate"),
        ("x/lib:a/pirate-F16.GGUF@v1", AdapterPlace(None, "x/lib", "v1", "a/pirate-F16.GGUF"), "pirate-F16"),
        ("x/lib/a/pirate.gguf", AdapterPlace(None, "x/lib", None, "a/pirate.gguf"), "pirate"),
        ("hf.co/x/lib/blob/v1/pirate.gguf", AdapterPlace(None, "x/lib", "v1", "pirate.gguf"), "pirate"),
        ("x/lib:Q4_K_M", AdapterPlace(Path("x/lib:Q4_K_M")), "lib:Q4_K_M"),
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


def test_below_a_folder_that_exists_nothing_is_of_the_hub() -> None:
    Path("adapters").mkdir()
    assert adapter_place("adapters/poett") == AdapterPlace(Path("adapters/poett"))
    with pytest.raises(AdapterError) as caught:
        read_adapter(Path("adapters/poett"), "poett")
    assert "adapters/poett does not exist" in caught.value.message
    assert str(caught.value.hint).endswith("; for the hub give hf.co/adapters/poett")
    assert adapter_place("hf.co/adapters/poett") == AdapterPlace(None, "adapters/poett")


def test_spaces_count_where_a_folder_has_them() -> None:
    Path("poet ").mkdir()
    assert adapter_place("poet ").path == Path("poet ")


def test_a_place_is_looked_for_in_another_folder() -> None:
    Path("files/someone/pirate").mkdir(parents=True)
    assert adapter_place("someone/pirate", Path("files")).path == Path("files/someone/pirate")


def test_a_name_too_long_for_a_folder_is_not_there() -> None:
    with pytest.raises(AdapterError, match="does not exist"):
        read_adapter(Path("x" * 5000), "x")


@pytest.mark.parametrize(
    "text, id_",
    [
        ("someone/pirate", "someone/pirate"),
        ("hf.co/someone/pirate/", "someone/pirate"),
        ("https://www.huggingface.co/someone/pirate", "someone/pirate"),
        ("someone/pirate/voice", None),
        ("pirate", None),
        ("../pirate", None),
        ("a..b/c", None),
    ],
)
def test_what_a_repository_is(text: str, id_: str | None) -> None:
    assert repository(text) == id_
    assert is_repository(text) is (text in ("someone/pirate", "pirate"))


def test_weights_come_last_and_the_same_place_adds_up() -> None:
    texts = ["someone/lib/a@v1:0.5", "someone/lib/a@v1:0.25", "someone/lib/a:-1", "hf.co/someone/lib/a:0.5"]
    assert adapters(texts, 2.0) == (
        (AdapterPlace(None, "someone/lib", "v1", "a"), 1.5),
        (AdapterPlace(None, "someone/lib", None, "a"), -1.0),
    )
    in_file = AdapterPlace(None, "someone/lib", None, "a.gguf")
    assert adapters(["someone/lib:a.gguf:0.5", "someone/lib:a.gguf"], 1.0) == ((in_file, 1.5),)
