"""The search path of personas, precedence, and isolation of broken files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpg_cli.config import paths as folders
from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.personas.registry import Registry, library_dir, load_default, search_path
from tests.support.files import Write


def persona(name: str, prompt: str = "p") -> str:
    return f"name: {name}\nprompt: {prompt}\n"


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home without personas."""
    monkeypatch.delenv("MPG_PERSONA_PATH", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_get_ignores_case(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("Pirate"))
    assert Registry.load([tmp_path / "a"]).get("pIRATE").name == "Pirate"


def test_yaml_and_yml_are_read_in_order_of_name(write: Write, tmp_path: Path) -> None:
    write("a/2.yaml", persona("c") + "---\n" + persona("d"))
    write("a/1.yml", persona("b"))
    write("a/3.txt", persona("e"))
    write("a/.4.yaml", persona("f"))
    write("a/deeper/5.yaml", persona("g"))
    (tmp_path / "a" / "folder.yaml").mkdir()
    found = Registry.load([tmp_path / "a"])
    assert [item.name for item in found.personas] == ["b", "c", "d"]
    assert found.problems == ()


def test_first_found_wins_and_the_other_is_kept(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("pirate", "first"))
    write("b/p.yaml", persona("PIRATE", "second") + "---\n" + persona("bard"))
    found = Registry.load([tmp_path / "a", tmp_path / "b"])
    assert found.get("pirate").prompt == "first"
    assert [(item.name, item.prompt) for item in found.shadowed] == [("PIRATE", "second")]
    assert [item.name for item in found.personas] == ["pirate", "bard"]


def test_same_directory_twice_is_no_shadow(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("pirate"))
    (tmp_path / "link").symlink_to("a")
    found = Registry.load([tmp_path / "a", tmp_path / "link", tmp_path / "a" / ".." / "a"])
    assert len(found.personas) == 1
    assert found.shadowed == ()
    assert found.directories == (tmp_path / "a",)


def test_unknown_name_lists_the_nearest_and_the_places(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("pirate"))
    found = Registry.load([tmp_path / "a", tmp_path / "none"])
    with pytest.raises(PersonaError) as caught:
        found.get("priate")
    assert caught.value.message == "unknown persona 'priate'; did you mean pirate?"
    assert caught.value.hint == f"searched in: {tmp_path / 'a'}, {tmp_path / 'none'} (missing)"
    with pytest.raises(PersonaError, match=r"^unknown persona 'x\\x1b\[31m'$"):
        found.get("x\x1b[31m")


BROKEN = {
    "document": "name: pirate\nprompt: 3\n",
    "yaml": "name: pirate\nprompt: [\n",
    "bytes": b"name: pirate\nprompt: \xff\n",
    "size": "name: pirate\nprompt: " + "x" * (1 << 20),
    "file name": "prompt: [\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file_stops_its_own_personas_only(tmp_path: Path, kind: str) -> None:
    raw = BROKEN[kind]
    file = tmp_path / "a" / "pirate.yaml"
    file.parent.mkdir()
    file.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    (tmp_path / "a" / "z.yaml").write_text(persona("zen"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "p.yaml").write_text(persona("pirate", "another"))
    found = Registry.load([tmp_path / "a", tmp_path / "b"])
    assert found.get("zen").name == "zen"
    assert [problem.file for problem in found.problems] == [file]
    assert found.problems[0].message.startswith(f"{file}:")
    # Not the namesake further down, which is another persona than the one the user wrote.
    with pytest.raises(PersonaError, match="its file is invalid") as caught:
        found.get("Pirate")
    assert found.problems[0].message in caught.value.message
    assert [item.prompt for item in found.shadowed] == ["another"]
    with pytest.raises(PersonaError, match="unknown persona 'bard'") as unknown:
        found.get("bard")
    assert unknown.value.hint is not None
    assert f"skipped invalid files: {file}" in unknown.value.hint


def test_broken_file_further_down_is_only_a_notice(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("pirate"))
    write("b/p.yaml", "name: pirate\nprompt: [\n")
    found = Registry.load([tmp_path / "a", tmp_path / "b"])
    assert found.get("pirate").prompt == "p"
    assert len(found.problems) == 1


def test_good_documents_of_a_file_survive_a_wrong_one(write: Write, tmp_path: Path) -> None:
    write("a/p.yaml", persona("zen") + "---\nname: pirate\n---\n" + persona("bard"))
    found = Registry.load([tmp_path / "a"])
    assert [item.name for item in found.personas] == ["zen", "bard"]
    assert found.problems[0].names == {"pirate"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_directory_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0)
    assert "cannot be read" in Registry.load([tmp_path / "a"]).problems[0].message


def test_search_order(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPG_PERSONA_PATH", os.pathsep.join(["/env/1", "", "~/2"]))
    monkeypatch.setenv("HOME", "/home/me")
    assert search_path([Path("/flag")]) == (
        Path("/flag"),
        Path("/env/1"),
        Path("/home/me/2"),
        Path("personas"),
        alone / "config" / "mpg" / "personas",
        library_dir(),
    )


def test_each_place_shadows_the_next(alone: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["flag", "env", "personas", "config/mpg/personas"]
    for place in places:
        write(f"{place}/p.yaml", persona("pirate", place))
    monkeypatch.setenv("MPG_PERSONA_PATH", "env")
    found = load_default([Path("flag")])
    assert found.get("pirate").prompt == "flag"
    *own, last = found.shadowed
    assert [item.prompt for item in own] == places[1:]
    assert last.file.parent == library_dir()


def test_persona_dir_that_is_no_folder_is_an_error(alone: Path) -> None:
    with pytest.raises(UsageError, match="--persona-dir nowhere: no such folder"):
        load_default([Path("nowhere")])
    assert {item.file.parent for item in load_default().personas} == {library_dir()}


def test_library_is_in_the_package_or_in_the_checkout(tmp_path: Path, write: Write) -> None:
    data = write("site/mpg_cli/__init__.py", "").parent / "data"
    assert library_dir(data) is None
    write("site/personas/p.yaml", persona("x"))
    assert library_dir(data) is None  # another package of that name
    write("site/pyproject.toml", "")
    assert library_dir(data) == tmp_path / "site" / "personas"
    write("site/mpg_cli/data/personas/p.yaml", persona("x"))
    assert library_dir(data) == tmp_path / "site" / "mpg_cli" / "data" / "personas"


def test_user_folder_is_the_one_of_the_config(alone: Path) -> None:
    assert folders.persona_dir() in load_default().directories


def test_library_of_this_repository_is_without_mistakes() -> None:
    directory = library_dir()
    if directory is None:
        pytest.skip("no library here")
    found = Registry.load([directory])
    assert found.problems == ()
    assert found.shadowed == ()
    assert found.personas


def test_a_persona_that_extends_its_namesake_has_its_adapters_too(tmp_path: Path) -> None:
    for folder, base, extends in (
        ("a", "one", "true"),
        ("b", "two", "true"),
        ("c", "three", "false"),
        ("d", "four", "true"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pirate.yaml").write_text(
            f"name: {'Pirate' if folder == 'b' else 'pirate'}\nprompt: of {folder}\nextends: {extends}\n"
            f"adapters:\n  - base: {base}\n    path: adapters/{base}\n"
        )
    found = Registry.load([tmp_path / name for name in "abcd"])
    pirate = found.get("pirate")
    assert pirate.prompt == "of a"
    assert [(entry.base, entry.folder.name) for entry in pirate.adapters] == [
        ("one", "a"),
        ("two", "b"),
        ("three", "c"),
    ]
    assert [one.prompt for one in found.shadowed] == ["of b", "of c", "of d"]
    alone = Registry.load([tmp_path / "c", tmp_path / "d"]).get("pirate")
    assert [entry.base for entry in alone.adapters] == ["three"]


@pytest.mark.parametrize("value", ["yes please", "1", "[true]"])
def test_extends_is_true_or_false(tmp_path: Path, value: str) -> None:
    (tmp_path / "x.yaml").write_text(f"name: x\nprompt: y\nextends: {value}\n")
    (problem,) = Registry.load([tmp_path]).problems
    assert "extends: must be true or false, not " in problem.message
