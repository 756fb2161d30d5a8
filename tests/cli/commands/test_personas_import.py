"""`mpg personas import` from file to `mpg generate`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mpg_cli
from mpg_cli.io import safe_yaml
from mpg_cli.personas.importing import place
from mpg_cli.personas.registry import Registry, library_dir
from tests.support.cards import V1, adapter_folder, charx, encoded, png, text, v2, v3
from tests.support.cli import Cli


def user_folder() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "personas"


def card(file: str = "card.json", **fields: Any) -> str:
    """A V2 card as a file in the working folder."""
    Path(file).write_text(json.dumps(v2(**fields)))
    return file


def imported(cli: Cli, *argv: str, stdin: bytes | None = None) -> str:
    code, out, err = cli("personas", "import", *argv, stdin=stdin)
    assert (code, out) == (0, ""), err
    return err


def refused(cli: Cli, *argv: str, stdin: bytes | None = None) -> str:
    code, out, err = cli("personas", "import", *argv, stdin=stdin)
    assert (code, out) == (2, ""), (code, out, err)
    assert "Traceback" not in err
    return err


def test_generate_finds_the_persona_at_once(cli: Cli) -> None:
    Path("x.png").write_bytes(png(text("chara", encoded(V1)), text("ccv3", encoded(v3(name="Ada Élise")))))
    err = imported(cli, "x.png")
    file = user_folder() / "Ada-Elise.yaml"
    assert err == f"mpg: wrote {file}; try: mpg generate -p Ada-Elise '…'\n"
    request = cli.request("-p", "ada-elise", "hello")
    assert request.blend is not None
    (expert,) = request.blend.experts
    assert expert.persona.file == file
    assert (expert.persona.prompt or "").endswith("Wise.")
    assert expert.persona.extensions["character_card"]["spec"] == "chara_card_v3"


def test_every_kind_of_card_gives_the_same_persona(cli: Cli) -> None:
    raw = json.dumps(v3()).encode()
    Path("a.json").write_bytes(raw)
    Path("b.charx").write_bytes(charx({"card.json": raw}))
    Path("c.png").write_bytes(png(text("ccv3", encoded(v3()))))
    shown = set()
    for file in ("a.json", "b.charx", "c.png"):
        code, out, _ = cli("personas", "import", file, "--dry-run")
        assert code == 0
        assert f"source: Character Card V3, {file}\n" in out
        shown.add(out.replace(file, "FILE"))
    assert len(shown) == 1


def test_dry_run_shows_files_that_would_load_and_writes_nothing(cli: Cli) -> None:
    code, out, err = cli("personas", "import", card(), card("b.json", name="Bob"), "--dry-run")
    assert (code, err) == (0, "")
    assert not user_folder().exists()
    folder = Path("shown")
    folder.mkdir()
    (folder / "x.yaml").write_text(out)
    registry = Registry.load([folder])
    assert [persona.name for persona in registry.personas] == ["Ada", "Bob"]
    assert not registry.problems


def test_stdin(cli: Cli) -> None:
    imported(cli, "-", stdin=json.dumps(v2(name="Eve")).encode())
    assert (user_folder() / "Eve.yaml").exists()
    assert "name" in refused(cli, "-", stdin=b"FROM a/b\nSYSTEM x\n")
    imported(cli, "-", "--name", "mario", stdin=b"FROM a/b\nSYSTEM x\n")
    assert "stdin is given twice" in refused(cli, "-", "-")


def test_name_folder_and_user(cli: Cli) -> None:
    err = imported(
        cli, card(description="{{user}}'s"), "--name", "lace", "--persona-dir", "mine", "--user", "Eve"
    )
    assert err == "mpg: wrote mine/lace.yaml; try: mpg generate -p lace --persona-dir mine '…'\n"
    (persona,) = Registry.load([Path("mine")]).personas
    assert persona.prompt == "You are Ada. Reply as Ada would, and stay in character.\n\nEve's"


def test_quiet_prints_nothing(cli: Cli) -> None:
    assert imported(cli, card(creator_notes="x"), "-q") == ""


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--name", "2b"), "'2b' is not a valid persona name"),
        (("--user", ""), "--user must be one line"),
        (("--user", "a\nb"), "--user must be one line"),
        (("other.json", "--name", "x"), "--name needs a single file"),
    ],
)
def test_flags_that_cannot_be_meant(cli: Cli, argv: tuple[str, ...], message: str) -> None:
    assert message in refused(cli, card(), *argv)


def test_a_name_without_letters_becomes_the_one_of_the_file(cli: Cli) -> None:
    err = imported(cli, card("dragon v2.json", name="龍"))
    assert "'龍' has no Latin letters: the persona is named dragon-v2 (choose" in err
    (persona,) = Registry.load([user_folder()]).personas
    assert (persona.name, persona.description) == ("dragon-v2", "龍: Wise.")
    assert (persona.prompt or "").startswith("You are 龍. ")
    assert "try: mpg generate -p persona-" in imported(cli, "-", stdin=json.dumps(v2(name="龍")).encode())


def test_a_card_without_a_name_takes_the_one_that_is_given(cli: Cli) -> None:
    assert "the card has no name\nhint: choose one with --name" in refused(cli, card(name=""))
    imported(cli, card(name=""), "--name", "ann")
    assert "You are ann." in (user_folder() / "ann.yaml").read_text()


def test_a_yaml_character_of_text_generation_webui(cli: Cli) -> None:
    text = (
        "name: Chiharu\nuser: Kim\ngreeting: |-\n  Hey {{user}}!\n"
        "context: |-\n  Chiharu's Persona: an engineer.\n"
    )
    Path("c.yaml").write_text(text)
    imported(cli, "c.yaml")
    (persona,) = Registry.load([user_folder()]).personas
    assert persona.source == "text-generation-webui character, c.yaml"
    assert (persona.prompt or "").endswith(
        "\n\nChiharu's Persona: an engineer.\n\nChiharu begins a conversation like this: Hey Kim!"
    )
    imported(cli, "-", "--name", "other", "--user", "Eve", stdin=text.encode("utf-16"))
    assert "Hey Eve!" in (user_folder() / "other.yaml").read_text()


@pytest.mark.parametrize("file", ["own.yaml", "own.yml", "own.json", "own"])
def test_the_hint_for_a_persona_file_works(cli: Cli, file: str) -> None:
    Path("my files").mkdir()
    text = "name: butler\ndescription: Old school.\nprompt: You are a butler.\n"
    if file.endswith("json"):
        text = json.dumps(safe_yaml.parse(text, Path(file))[0].data)
    Path("my files", file).write_text(text)
    err = refused(cli, f"my files/{file}")
    message, hint = err.splitlines()
    assert message == f"mpg: error: my files/{file}: a persona file needs no import"
    first, command = hint.removeprefix("hint: ").split(": ", 1)
    if not file.endswith((".yaml", ".yml")):
        assert first == "save it as butler.yaml and use it"
        Path("my files", file).rename("my files/butler.yaml")
    argv = shlex.split(command)
    assert argv[:2] == ["mpg", "generate"]
    request = cli.request(*argv[2:])
    assert request.blend is not None
    assert request.blend.experts[0].persona.prompt == "You are a butler."


def test_mistakes_of_a_persona_file_are_reported(cli: Cli) -> None:
    Path("own.yaml").write_text("name: butler\npromt: x\nprompt: y\n")
    err = refused(cli, "own.yaml")
    assert (
        "own.yaml: a persona file, which needs no import, with errors:\nown.yaml:2: promt: unknown key" in err
    )
    Path("own.yaml").write_text("name: butler\nprompt: y\n", encoding="utf-16")
    assert "is not UTF-8" in refused(cli, "own.yaml")


def test_what_is_there_is_not_replaced_without_force(cli: Cli) -> None:
    imported(cli, card())
    before = (user_folder() / "Ada.yaml").read_bytes()
    err = refused(cli, card(description="New."))
    assert "Ada.yaml exists" in err
    assert "use --force to replace it" in err
    assert (user_folder() / "Ada.yaml").read_bytes() == before
    imported(cli, card(description="New."), "--force")
    assert b"New." in (user_folder() / "Ada.yaml").read_bytes()


def test_force_spares_a_file_with_other_personas(cli: Cli) -> None:
    Path("personas/Ada.yaml").write_text("name: Ada\nprompt: x\n---\nname: other\nprompt: y\n")
    err = refused(cli, card(), "--persona-dir", "personas", "--force")
    assert "has other personas too: other" in err
    assert "name: other" in Path("personas/Ada.yaml").read_text()


def test_a_persona_of_that_name_in_another_file(cli: Cli) -> None:
    err = refused(cli, card(name="Pirate"), "--persona-dir", "personas", "--force")
    assert "crew.yaml:2: the persona pirate exists already" in err


def test_hiding_another_persona_needs_force(cli: Cli) -> None:
    err = refused(cli, card(name="Pirate"))
    assert "the new Pirate would be hidden by the persona in personas/crew.yaml:2" in err
    err = refused(cli, card(name="Zen"))
    assert f"the new Zen would hide the persona in {library_dir()}/characters.yaml:" in err
    assert "or use --force" in err
    imported(cli, card(name="Zen"), "--force")


def test_the_good_ones_of_several_are_imported(cli: Cli) -> None:
    Path("bad.png").write_bytes(png(text("ccv3", encoded(v3()))).replace(b"ccv3", b"ccv4"))
    err = refused(cli, card("a.json", name="One"), "bad.png", "gone.json", card("b.json", name="Two"))
    lines = err.splitlines()
    assert "wrote" in lines[0]
    assert lines[1] == "mpg: error: bad.png: the checksum of the text at byte 33 is wrong"
    assert lines[3] == "mpg: error: gone.json cannot be read: No such file or directory"
    assert "wrote" in lines[4]
    assert lines[5] == "mpg: error: 2 of 4 files could not be imported"
    assert sorted(file.name for file in user_folder().iterdir()) == ["One.yaml", "Two.yaml"]


def test_two_of_one_name_in_one_run(cli: Cli) -> None:
    err = refused(cli, card("a.json"), card("b.json"), "--force")
    assert "b.json: the name Ada is already used for a.json" in err


def test_text_of_a_card_cannot_command_the_terminal(cli: Cli) -> None:
    err = imported(cli, card(creator_notes="\x1b[2Jhi\u202e", tags=["\x1b]0;x\x07"], creator="a\x9bb"))
    assert "the creator's notes: [2Jhi" in err
    assert "\x1b" not in err
    err = imported(cli, card(name="\x1b龍\x9b"))
    assert "\x1b" not in err


def test_a_modelfile_with_its_adapter(cli: Cli, tmp_path: Path) -> None:
    source = adapter_folder(tmp_path / "lora")
    Path("mario.Modelfile").write_text(
        f"FROM ./x.gguf\nADAPTER {source}\nSYSTEM You are Mario.\nPARAMETER temperature 0.7\n"
    )
    err = imported(cli, "mario.Modelfile")
    assert "give mpg generate: --temperature 0.7" in err
    assert err.endswith("try: mpg generate -p mario --model Qwen/Qwen3-0.6B '…'\n")
    (persona,) = Registry.load([user_folder()]).personas
    (entry,) = persona.adapters
    assert (entry.base, persona.use, persona.prompt) == ("Qwen/Qwen3-0.6B", "both", "You are Mario.")
    copied = entry.resolved_path()
    assert copied == (user_folder() / "adapters" / "Qwen--Qwen3-0.6B" / "mario").resolve()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (copied / name).read_bytes() == (source / name).read_bytes()
    assert str(tmp_path) not in (user_folder() / "mario.yaml").read_text()
    adapter_folder(tmp_path / "new", r=4)
    Path("mario.Modelfile").write_text(f"FROM a/b\nADAPTER {tmp_path / 'new'}\n")
    refused(cli, "mario.Modelfile", "--base", "Qwen/Qwen3-0.6B")
    imported(cli, "mario.Modelfile", "--base", "Qwen/Qwen3-0.6B", "--force")
    assert json.loads((copied / "adapter_config.json").read_text())["r"] == 4
    assert sorted(path.name for path in copied.parent.iterdir()) == ["mario"]


def test_an_imported_adapter_is_used(mpg: Cli, tmp_path: Path) -> None:
    """The bundled model and one of its adapters, by way of a Modelfile."""
    library = Path(mpg_cli.__file__).parents[1] / "personas" / "adapters" / "mpg-tiny"
    model = Path(mpg_cli.__file__).parent / "data" / "mpg-tiny"
    (tmp_path / "sailor.Modelfile").write_text(
        f"FROM {model}\nADAPTER {library / 'pirate'}\nSYSTEM Be salty.\n"
    )
    code, _, err = mpg("personas", "import", "sailor.Modelfile", "--persona-dir", "out")
    assert code == 0, err
    assert err.endswith(f"try: mpg generate -p sailor --persona-dir out --model {model} '…'\n")
    argv = ("-p", "sailor", "--persona-dir", "out", "--model", model, "--max-tokens", "4", "--format", "json")
    code, out, err = mpg("generate", *argv, "--device", "cpu", "How do I make tea?")
    assert code == 0, err
    assert json.loads(out)["experts"] == [{"name": "sailor", "kind": "both", "weight": 1.0}]


def test_a_full_disk_leaves_no_adapter_behind(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("Modelfile.mario").write_text(f"FROM a/b\nADAPTER {adapter_folder(tmp_path / 'lora')}\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.shutil, "copyfile", full)
    assert "cannot be written: No space left on device" in refused(cli, "Modelfile.mario")
    assert [path for path in user_folder().rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_dry_run_copies_no_adapter(cli: Cli, tmp_path: Path) -> None:
    Path("Modelfile.mario").write_text(f"FROM a/b\nADAPTER {adapter_folder(tmp_path / 'lora')}\n")
    code, out, _ = cli("personas", "import", "Modelfile.mario", "--dry-run")
    assert code == 0
    assert "  - base: a/b\n    path: adapters/a--b/mario\n" in out
    assert not user_folder().exists()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(cli: Cli, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(cli, card())
    before = (user_folder() / "Ada.yaml").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        err = refused(cli, card(description="New."), "--force")
    assert "cannot be written: No space left on device" in err
    assert {file.name: file.read_bytes() for file in user_folder().iterdir()} == {"Ada.yaml": before}


def test_a_folder_that_cannot_be_written(cli: Cli) -> None:
    Path("file").write_text("")
    assert "cannot be written: " in refused(cli, card(), "--persona-dir", "file/below")


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(text("chara", encoded(V1))))
    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(sys.argv[1:]);"
        "heavy = [m for m in ('torch', 'transformers', 'peft') if m in sys.modules]; print(code, heavy)"
    )
    argv = [sys.executable, "-c", code, "personas", "import", str(tmp_path / "x.png"), "--name", "someone"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "0 []\n", done.stderr
