"""The persona file: new ones read back as meant, existing ones keep all that is not about the new adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.personas import schema
from mpg_cli.personas.persona_file import (
    Destination,
    Texts,
    check_destination,
    check_name,
    filled_from,
    hides,
    namesake,
    persona_text,
)
from mpg_cli.personas.schema import Persona

COMMENTED = """\
# My captain.
name: pirate   # lower case
prompt: |
  Speak as a pirate.
  Always.
adapters:
  # the small one
  - base: mpg-tiny
    path: adapters/mpg-tiny/pirate
  - base: other/model
    repo: someone/pirate
weight: 0.5
"""


def where(folder: Path, base: str = "Qwen/Qwen3-0.6B", name: str = "pirate") -> Destination:
    return Destination(folder, name, base)


def parsed(text: str, folder: Path) -> Persona:
    (document,) = safe_yaml.parse(text, folder / "pirate.yaml")
    return schema.parse_document(document)


def edited(folder: Path, text: str, base: str, *, force: bool = False) -> str:
    (folder / "pirate.yaml").write_text(text)
    target = where(folder, base)
    existing = check_destination(target, Texts(), force=force)
    assert existing is not None
    return persona_text(target, Texts(), existing)


@pytest.mark.parametrize("name", ["", "7up", "a b", "../x", "x" * 500])
def test_a_name_that_no_persona_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid persona name"):
        check_name(name)


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("mpg-tiny", "adapters/mpg-tiny/pirate"),
        ("Qwen/Qwen3-0.6B", "adapters/Qwen--Qwen3-0.6B/pirate"),
        ("my model (v2)", "adapters/my-model-v2/pirate"),
        ("..", "adapters/model/pirate"),
    ],
)
def test_the_adapter_lies_below_the_persona_file(tmp_path: Path, base: str, path: str) -> None:
    target = where(tmp_path, base)
    assert target.adapter_path == path
    assert schema.confined(tmp_path, path) == (tmp_path / path).resolve()
    assert parsed(persona_text(target, Texts(), None), tmp_path).adapters[0].base == base


@pytest.mark.parametrize(
    "text",
    ["plain words, and so on.", "no", "1e3", "a: b", "x # y", "'quoted'", '"', "ümläut 🙂", "null", "- x"],
)
def test_texts_read_back_as_they_were(tmp_path: Path, text: str) -> None:
    texts = Texts(description=text, prompt=f"{text}\nsecond line", license=text, source=text)
    persona = parsed(persona_text(where(tmp_path), texts, None), tmp_path)
    assert (persona.description, persona.prompt) == (" ".join(text.split()), f"{text}\nsecond line")
    assert (persona.license, persona.source) == (text, text)


def test_tags_read_back_as_they_were(tmp_path: Path) -> None:
    texts = Texts(tags=("old, salty", "no", "character"))
    assert parsed(persona_text(where(tmp_path), texts, None), tmp_path).tags == texts.tags


def test_a_text_that_no_persona_file_may_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"would not be valid: .*control character"):
        persona_text(where(tmp_path), Texts(prompt="\x1b[2J"), None)


def test_another_base_is_one_more_entry_and_comments_stay(tmp_path: Path) -> None:
    text = edited(tmp_path, COMMENTED, "Qwen/Qwen3-0.6B")
    entry = "  - base: Qwen/Qwen3-0.6B\n    path: adapters/Qwen--Qwen3-0.6B/pirate\n"
    assert text == COMMENTED.replace("  - base: mpg-tiny", f"{entry}  - base: mpg-tiny")
    assert [entry.base for entry in parsed(text, tmp_path).adapters] == [
        "Qwen/Qwen3-0.6B",
        "mpg-tiny",
        "other/model",
    ]


def test_a_persona_without_adapters_gets_its_first(tmp_path: Path) -> None:
    persona = parsed(edited(tmp_path, "name: pirate\nprompt: Speak.", "mpg-tiny"), tmp_path)
    assert persona.prompt == "Speak."
    assert [entry.path for entry in persona.adapters] == ["adapters/mpg-tiny/pirate"]


def test_the_same_base_is_replaced_only_by_force(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pirate already has an adapter for other/model") as caught:
        edited(tmp_path, COMMENTED, "other/model")
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    persona = parsed(edited(tmp_path, COMMENTED, "other/model", force=True), tmp_path)
    assert [(entry.base, entry.path, entry.repo) for entry in persona.adapters] == [
        ("other/model", "adapters/other--model/pirate", None),
        ("mpg-tiny", "adapters/mpg-tiny/pirate", None),
    ]
    assert persona.weight == 0.5


def test_the_same_base_goes_by_its_name_alone_too(tmp_path: Path) -> None:
    text = COMMENTED.replace("other/model", "Qwen3-0.6B")
    with pytest.raises(UsageError, match=r"already has an adapter for Qwen3-0\.6B"):
        edited(tmp_path, text, "Qwen/Qwen3-0.6B")
    mirror = COMMENTED.replace("other/model", "mirror/Qwen3-0.6B")
    assert len(parsed(edited(tmp_path, mirror, "Qwen/Qwen3-0.6B"), tmp_path).adapters) == 3


def test_an_entry_that_is_right_already_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    assert edited(tmp_path, COMMENTED, "mpg-tiny", force=True) == COMMENTED


def test_a_file_that_cannot_be_edited_as_text_is_left_alone(tmp_path: Path) -> None:
    flow = "{name: pirate, adapters: [{base: mpg-tiny, path: a}]}\n"
    with pytest.raises(UsageError, match=r"cannot be edited safely|would not be valid"):
        edited(tmp_path, flow, "other/model")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pirate.yaml", "name: Pirate\nprompt: x", "the persona Pirate exists already"),
        ("pirate.yaml", "name: pirate\nparts: a + b", "pirate is a composite"),
        ("pirate.yaml", "name: other\nprompt: x", "exists and has no persona pirate"),
    ],
)
def test_what_is_there_is_not_overwritten(tmp_path: Path, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)
    for force in (False, True):
        with pytest.raises(UsageError, match=message):
            check_destination(where(tmp_path), Texts(), force=force)


CREW = """\
# The crew.
---
name: cook
prompt: Soup.
---
name: pirate
prompt: Speak.
# the last one
---
name: poet
adapters:
  - base: mpg-tiny
    path: adapters/mpg-tiny/poet
...
"""


def test_a_file_of_several_personas_gets_entries_where_they_belong(tmp_path: Path) -> None:
    file = tmp_path / "crew.yaml"
    file.write_text(CREW)
    crew = [where(tmp_path, name=name) for name in ("pirate", "poet", "cook")]
    found = [check_destination(target, Texts(), force=False) for target in crew]
    for target, existing in zip(crew, found, strict=True):
        assert existing is not None
        file.write_text(persona_text(target, Texts(), existing))
    personas = {persona.name: persona for persona in schema.load_file(file)}
    for target in crew:
        assert personas[target.name].adapters[0].path == target.adapter_path
    assert [entry.base for entry in personas["poet"].adapters] == ["Qwen/Qwen3-0.6B", "mpg-tiny"]
    entry = "- base: Qwen/Qwen3-0.6B\n    path: adapters/Qwen--Qwen3-0.6B/"
    wanted = CREW.replace("Soup.\n", f"Soup.\nadapters:\n  {entry}cook\n")
    wanted = wanted.replace("# the last one\n", f"# the last one\nadapters:\n  {entry}pirate\n")
    wanted = wanted.replace("  - base: mpg-tiny", f"  {entry}poet\n  - base: mpg-tiny")
    assert file.read_text() == wanted


def test_the_last_entry_of_a_persona_is_replaced_up_to_the_next_persona(tmp_path: Path) -> None:
    file = tmp_path / "crew.yaml"
    file.write_text(CREW.replace("...\n", "---\nname: maid\nprompt: y\n"))
    target = where(tmp_path, base="mpg-tiny", name="poet")
    existing = check_destination(target, Texts(), force=True)
    assert existing is not None
    file.write_text(persona_text(target, Texts(), existing, "0" * 24))
    personas = {persona.name: persona for persona in schema.load_file(file)}
    assert [entry.base_digest for entry in personas["poet"].adapters] == ["0" * 24]
    assert personas["maid"].prompt == "y"


def test_a_persona_that_left_its_file_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "crew.yaml").write_text(CREW)
    existing = check_destination(where(tmp_path), Texts(), force=False)
    (tmp_path / "crew.yaml").write_text("name: cook\nprompt: x\n")
    with pytest.raises(UsageError, match="was changed meanwhile and has no persona pirate"):
        persona_text(where(tmp_path), Texts(), existing)


def test_a_broken_persona_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pirate.yaml").write_text("name: pirate\nprmpt: x\n")
    with pytest.raises(PersonaError, match="unknown key; did you mean prompt"):
        check_destination(where(tmp_path), Texts(), force=True)


def test_texts_do_not_change_an_existing_persona(tmp_path: Path) -> None:
    (tmp_path / "pirate.yaml").write_text(COMMENTED)
    same = Texts(prompt="Speak as a pirate. Always.")
    assert check_destination(where(tmp_path), same, force=False) is not None
    with pytest.raises(UsageError, match="--description differs from the existing persona"):
        check_destination(where(tmp_path), Texts(description="new"), force=True)


def test_an_adapter_without_a_persona_is_not_overwritten(tmp_path: Path) -> None:
    target = where(tmp_path)
    target.adapter.mkdir(parents=True)
    with pytest.raises(UsageError, match="exists"):
        check_destination(target, Texts(), force=False)
    assert check_destination(target, Texts(), force=True) is None


def test_a_file_that_appears_during_the_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pirate.yaml").write_text("name: pirate\nprompt: x\n")
    with pytest.raises(UsageError, match="was created meanwhile"):
        persona_text(where(tmp_path), Texts(), None)


OTHER = "name: Pirate\ndescription: Salt.\nprompt: Speak.\ntags: [sea]\nlicense: CC0-1.0\nsource: a book\n"


def test_texts_of_a_namesake_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own folder, searched or not, has no namesake for it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "crew.yaml").write_text(OTHER)
    monkeypatch.setenv("MPG_PERSONA_PATH", str(theirs))
    other = namesake(where(tmp_path))
    assert other is not None
    assert other.file == theirs / "crew.yaml"
    texts = filled_from(Texts(description="Rum.", source="me"), other)
    assert texts == Texts("Rum.", "Speak.", "CC0-1.0", "me", ("sea",))
    assert parsed(persona_text(where(tmp_path), texts, None), tmp_path).prompt == "Speak."
    assert namesake(where(tmp_path, name="nobody")) is None
    beside = namesake(where(theirs))
    assert beside is None or beside.file.parent != theirs


@pytest.mark.parametrize(
    ("order", "hidden"), [("mine:theirs", True), ("theirs:mine", False), ("theirs", True)]
)
def test_a_persona_hides_those_that_are_searched_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, hidden: bool
) -> None:
    """A folder that is not searched is given by --persona-dir, and comes first then."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "crew.yaml").write_text(OTHER)
    monkeypatch.setenv("MPG_PERSONA_PATH", ":".join(str(tmp_path / name) for name in order.split(":")))
    mine = where(tmp_path / "mine")
    other = namesake(mine)
    assert other is not None
    assert hides(mine, other) is hidden


def test_an_unfinished_run_needs_no_second_permission_to_replace(tmp_path: Path) -> None:
    (tmp_path / "pirate.yaml").write_text(COMMENTED)
    target = where(tmp_path, "other/model")
    target.run.mkdir(parents=True)
    with pytest.raises(UsageError, match="already has an adapter for other/model"):
        check_destination(target, Texts(), force=False)
    (target.run / "checkpoint-3").mkdir()
    (target.run / "checkpoint-3" / "trainer_state.json").touch()
    assert check_destination(target, Texts(), force=False) is not None
