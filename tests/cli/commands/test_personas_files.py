"""`mpg personas check` and `new`: every mistake with its place, and files that are right from the start."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from mpg_cli.personas.registry import library_dir
from mpg_cli.personas.schema import load_file
from tests.support.cli import Cli

WRONG = """
name: one
prmpt: x
use: nonsense
---
name: two
parts: pirate + nobody + xyzzy:2
---
name: three
prompt: x
adapters:
  - base: mpg-tiny
    path: adapters/none
---
name: One
prompt: twice
---
name: three
prompt: twice
"""


def library() -> Path:
    folder = library_dir()
    assert folder is not None
    return folder


@pytest.fixture
def adapted(cli: Cli) -> Cli:
    """A folder with a persona whose adapter is a copy of one for mpg-tiny."""
    shutil.copytree(library() / "adapters" / "mpg-tiny" / "pirate", "mine/adapters/own")
    Path("mine/own.yaml").write_text("name: own\nadapters:\n  - base: mpg-tiny\n    path: adapters/own\n")
    return cli


def edit_config(**changes: object) -> None:
    file = Path("mine/adapters/own/adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_all_folders_are_checked(cli: Cli) -> None:
    code, out, err = cli("personas", "check")
    assert (code, err) == (0, "")
    assert out == "4 files, 39 personas, 37 adapters: no problems\n"


def test_every_mistake_has_its_place(cli: Cli) -> None:
    Path("personas/wrong.yaml").write_text(WRONG)
    Path("personas/yaml.yml").write_text("name: x\nname: y\nprompt: z\n")
    code, out, err = cli("personas", "check", "personas")
    assert (code, err) == (2, "")
    assert out.splitlines() == [
        "personas/wrong.yaml:3: prmpt: unknown key; did you mean prompt?",
        "personas/wrong.yaml:4: use: unknown value 'nonsense' (choose from auto, adapter, prompt, both)",
        "personas/wrong.yaml:2: a persona needs a prompt, adapters or parts",
        "personas/wrong.yaml:7: parts: unknown persona 'nobody'",
        "personas/wrong.yaml:7: parts: unknown persona 'xyzzy'",
        "personas/wrong.yaml:18: name: hidden by the persona three in personas/wrong.yaml:9",
        "personas/yaml.yml:2: name: duplicate key, first in line 1",
        "personas/wrong.yaml:13: adapters[0].path: "
        f"{Path('personas/adapters/none').resolve()} does not exist",
        "3 files, 8 personas, 1 adapter: 8 problems",
    ]


def test_mistakes_of_yaml_do_not_hide_others(cli: Cli) -> None:
    Path("personas/y.yaml").write_text(
        "name: x\nprompt: one\nprompt: two\nprompt: &three three\nwight: 1\n---\nname: y\ntags: !!set [a]\n"
        'prompt: "\\e[31m"\n---\nname: z\nprompt: *three\n---\nname: unread\n'
    )
    code, out, _ = cli("personas", "check", "personas/y.yaml")
    assert code == 2
    assert [line.split(": ", 1)[0] for line in out.splitlines()[:-1]] == [
        f"personas/y.yaml:{line}" for line in (3, 4, 4, 8, 9, 12, 5)
    ]
    assert "personas/y.yaml:12: prompt: aliases (*three) are not allowed" in out


def test_cycles_and_weights_are_found(cli: Cli) -> None:
    Path("personas/c.yaml").write_text(
        "name: a\nparts: b\n---\nname: b\nparts: a\n---\nname: heavy\nparts: pirate:6 + both:20\n"
    )
    code, out, _ = cli("personas", "check", "personas/c.yaml")
    assert code == 2
    assert "c.yaml:2: parts: personas/c.yaml:4: parts: a composite contains itself: b → a → b" in out
    assert "c.yaml:8: parts: the weight of pirate comes to 16, beyond ±10" in out


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "nowhere: no such file or folder"), ("empty", "empty holds no persona files")],
)
def test_paths_that_are_no_personas_are_wrong_usage(cli: Cli, path: str, message: str) -> None:
    Path("empty").mkdir()
    code, out, err = cli("personas", "check", path)
    assert (code, out) == (2, "")
    assert message in err


def test_adapters_are_compared_with_shapes(adapted: Cli) -> None:
    code, out, err = adapted("personas", "check", "mine", "--model", "mpg-tiny")
    assert (code, err) == (0, "")
    assert out == "1 file, 1 persona, 1 adapter: no problems; 1 of 1 adapters for mpg-tiny fit\n"


def test_adapters_of_another_shape_are_reported(adapted: Cli, model: Path) -> None:
    Path("mine/own.yaml").write_text(
        f"name: own\nadapters:\n  - base: {model.name}\n    path: adapters/own\n"
    )
    code, out, _ = adapted("personas", "check", "mine")
    assert (code, out) == (0, "1 file, 1 persona, 1 adapter: no problems\n")
    code, out, _ = adapted("personas", "check", "mine", "--model", str(model))
    assert code == 1
    assert "mine/own.yaml:4: adapters[0].path: adapter own (" in out
    assert "does not fit the model" in out
    assert "lora_A is (" in out or "the model has no such module" in out
    assert out.endswith(f"1 problem; 0 of 1 adapters for {model} fit\n")


def test_other_models_of_the_family_are_compared_and_skipped(adapted: Cli, model: Path) -> None:
    entry = "- {{base: someone/{}, path: adapters/own}}"
    text = "name: own\nprompt: x\nadapters:\n"
    Path("mine/own.yaml").write_text(text + entry.format(model.name))
    code, out, _ = adapted("personas", "check", "mine", "--model", str(model))
    assert code == 0
    where = "mine/own.yaml:4: adapters[0].path"
    assert out.startswith(f"{where}: adapter made for someone/{model.name} is not used: model.layers.")
    assert out.endswith(f"no problems; no local adapter is used on {model}\n")
    Path("mine/own.yaml").write_text(text + entry.format("MPG-tiny-GGUF"))
    code, out, _ = adapted("personas", "check", "mine", "--model", "mpg-tiny")
    assert (code, out.split("; ")[1]) == (0, "1 of 1 adapters for mpg-tiny fit\n")


def test_no_weights_are_read(adapted: Cli, tmp_path: Path) -> None:
    import mpg_cli

    folder = tmp_path / "mpg-tiny"
    folder.mkdir()
    shutil.copy(Path(mpg_cli.__file__).parent / "data" / "mpg-tiny" / "config.json", folder)
    code, out, _ = adapted("personas", "check", "mine", "--model", str(folder))
    assert (code, out.split("; ")[1]) == (0, f"1 of 1 adapters for {folder} fit\n")


def test_damaged_adapters_are_reported_without_a_model(adapted: Cli) -> None:
    edit_config(use_dora=True)
    code, out, _ = adapted("personas", "check", "mine")
    assert code == 1
    assert "mine/own.yaml:4: adapters[0].path: the adapter cannot be used:" in out
    assert "use_dora is true: DoRA rescales the weights of the base" in out
    Path("mine/adapters/own/adapter_model.safetensors").write_bytes(b"\x10" * 40)
    code, out, _ = adapted("personas", "check", "mine")
    assert code == 1
    assert "is damaged or not a safetensors file" in out


def test_a_folder_that_is_not_a_model_is_one_message(cli: Cli) -> None:
    Path("none").mkdir()
    code, _, err = cli("personas", "check", "personas", "--model", "none")
    assert code == 1
    assert "has no config.json" in err


def user_folder() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "personas"


def test_new_writes_a_file_that_is_right_and_commented(cli: Cli) -> None:
    code, out, err = cli("personas", "new", "butler")
    file = user_folder() / "butler.yaml"
    assert (code, out) == (0, f"{file}\n")
    assert err == "mpg: try: mpg generate -p butler '…'\n"
    (persona,) = load_file(file)
    assert (persona.name, persona.parts, persona.adapters) == ("butler", None, ())
    text = file.read_text()
    for key in ("description", "adapters", "use", "weight", "tags", "license", "source"):
        assert f"# {key}:" in text
    uncommented = text.replace("# weight", "weight").replace("# tags", "tags").replace("# use", "use")
    file.write_text(uncommented)
    (persona,) = load_file(file)
    assert (persona.tags, persona.use) == (("character",), "auto")
    assert cli("personas", "check", str(file))[0] == 0


def test_new_composite(cli: Cli) -> None:
    assert cli("personas", "new", "duo", "--parts", "pirate:0.5+poet", "--description", "Two: a: b")[0] == 0
    (persona,) = load_file(user_folder() / "duo.yaml")
    assert (persona.parts, persona.description) == ("pirate:0.5 + poet", "Two: a: b")


def test_new_with_an_adapter_copies_it(adapted: Cli) -> None:
    code, _, err = adapted(
        "personas",
        "new",
        "copy",
        "--adapter",
        "mine/adapters/own",
        "--base",
        "mpg-tiny",
        "--prompt",
        "Arr:\nx",
    )
    assert code == 0, err
    (persona,) = load_file(user_folder() / "copy.yaml")
    assert persona.prompt == "Arr:\nx"
    path = persona.adapters[0].resolved_path()
    assert path is not None
    assert (path / "adapter_model.safetensors").is_file()
    assert "--model mpg-tiny" in err
    code, out, _ = adapted("personas", "check", str(user_folder()), "--model", "mpg-tiny")
    assert (code, out.split("; ")[1]) == (0, "1 of 1 adapters for mpg-tiny fit\n")


def test_new_names_a_base_that_runs(adapted: Cli) -> None:
    edit_config(base_model_name_or_path="unsloth/llama-3-8b-bnb-4bit")
    code, _, err = adapted("personas", "new", "plain", "--adapter", "mine/adapters/own")
    assert (code, err) == (
        0,
        "mpg: unsloth/llama-3-8b-bnb-4bit is quantised, which mpg does not support; using "
        "unsloth/llama-3-8b as base (choose another with --base)\n"
        "mpg: try: mpg generate -p plain --model unsloth/llama-3-8b '…'\n",
    )
    (persona,) = load_file(user_folder() / "plain.yaml")
    assert persona.adapters[0].base == "unsloth/llama-3-8b"


@pytest.mark.parametrize(
    "config, words",
    [
        ({"use_dora": True}, "use_dora is true: DoRA rescales the weights of the base; not implemented"),
        ({"peft_type": None}, "peft_type is null"),
        ({"target_modules": []}, "target_modules is []"),
    ],
)
def test_new_reads_the_configuration_whatever_the_base_is(
    config: dict[str, object], words: str, adapted: Cli
) -> None:
    edit_config(**config)
    for more in ((), ("--base", "mpg-tiny")):
        code, _, err = adapted("personas", "new", "odd", "--adapter", "mine/adapters/own", *more)
        assert code == 2
        assert words in err
    assert not (user_folder() / "odd.yaml").exists()


def test_new_reports_what_a_folder_is(adapted: Cli) -> None:
    argv = ("personas", "new", "odd", "--base", "mpg-tiny", "--adapter")
    code, _, err = adapted(*argv, "mine/adapters")
    assert code == 2
    assert "--adapter: the adapter 'mine/adapters' has no adapter_config.json" in err
    assert "its subfolders have adapters: own" in err
    Path("mine/adapters/own/adapter_config.json").write_text('{"fine_tune_type": "lora"}')
    code, _, err = adapted(*argv, "mine/adapters/own")
    assert code == 2
    assert "adapter_config.json belongs to an MLX adapter" in err
    assert "mlx_lm.fuse" in err


def test_new_takes_any_place_of_the_hub(adapted: Cli) -> None:
    places = {
        "someone/lib": ("someone/lib", None, None),
        "someone/lib/voices/poet@v1": ("someone/lib", "v1", "voices/poet"),
        "https://huggingface.co/someone/lib/tree/main/poet": ("someone/lib", "main", "poet"),
    }
    for number, (text, (repo, revision, subfolder)) in enumerate(places.items()):
        argv = ("personas", "new", f"hub{number}", "--adapter", text)
        code, _, err = adapted(*argv)
        assert (code, "add --base ID" in err) == (2, True)
        assert adapted(*argv, "--base", "org/X-1B")[0] == 0
        (persona,) = load_file(user_folder() / f"hub{number}.yaml")
        (entry,) = persona.adapters
        assert (entry.base, entry.repo) == ("org/X-1B", repo)
        assert (entry.revision, entry.subfolder) == (revision, subfolder)


def test_check_compares_whole_weights(adapted: Cli, model: Path) -> None:
    from mpg_cli.models.load.loader import load_model
    from tests.support.adapters import edited_tensors, tiny_adapter

    base = load_model(str(model), device="cpu")
    folder = Path("mine/adapters/own")
    shutil.rmtree(folder)
    tiny_adapter(folder, base=base.model, targets=["q_proj"], modules_to_save=["norm"])
    entry = f"{{base: {model.name}, path: adapters/own}}"
    Path("mine/own.yaml").write_text(f"name: own\nadapters: [{entry}]\n")
    argv = ("personas", "check", "mine", "--model", str(model))
    assert adapted(*argv)[0] == 0
    with edited_tensors(folder) as tensors:
        (key,) = [key for key in tensors if key.endswith("model.norm.weight")]
        tensors[key] += 1
    code, out, _ = adapted(*argv)
    assert code == 1
    assert "norm.weight: the file has a version that differs from the base" in out


def test_new_names_no_model_that_is_not_there(adapted: Cli) -> None:
    edit_config(base_model_name_or_path="TheBloke/Llama-2-7B-AWQ")
    for name, argv in (("one", ()), ("two", ("--base", "TheBloke/Llama-2-7B-AWQ"))):
        code, _, err = adapted("personas", "new", name, "--adapter", "mine/adapters/own", *argv)
        assert (code, err.splitlines()[-1]) == (0, f"mpg: try: mpg generate -p {name} '…'")
        assert load_file(user_folder() / f"{name}.yaml")[0].adapters[0].base == "Llama-2-7B"


def test_new_calls_a_folder_by_its_name(adapted: Cli, model: Path) -> None:
    argv = ("personas", "new", "here", "--adapter", "mine/adapters/own", "--base", str(model))
    code, _, err = adapted(*argv)
    assert (code, err) == (0, f"mpg: try: mpg generate -p here --model {model} '…'\n")
    (persona,) = load_file(user_folder() / "here.yaml")
    assert persona.adapters[0].base == model.name


def test_new_with_an_adapter_of_the_hub(cli: Cli) -> None:
    assert cli("personas", "new", "far", "--adapter", "someone/lora", "--base", "org/big")[0] == 0
    (persona,) = load_file(user_folder() / "far.yaml")
    assert (persona.adapters[0].repo, persona.adapters[0].base) == ("someone/lora", "org/big")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["2x"], "'2x' is not a valid persona name"),
        (["x", "--parts", "nobody"], "unknown persona 'nobody'"),
        (["x", "--parts", "x"], "a composite cannot contain itself"),
        (["x", "--parts", "pirate", "--prompt", "y"], "--parts makes a composite"),
        (["x", "--base", "y"], "--base needs --adapter"),
        (["x", "--adapter", "someone/lora"], "names no base model"),
        (["x", "--adapter", "./nowhere"], "does not exist"),
        (["x", "--prompt", " "], "--prompt is empty"),
        (["x", "--prompt", "\x1b[2J"], "--prompt has the control character"),
        (["pirate"], "the new pirate would be hidden by the persona in personas/crew.yaml:2"),
        (["noir"], "the new noir would hide the persona in"),
        (["x", "--edit"], "--edit needs an editor"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_new_refuses(cli: Cli, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    code, out, err = cli("personas", "new", *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert not user_folder().exists()


def test_new_replaces_with_force_only(cli: Cli) -> None:
    assert cli("personas", "new", "x", "--prompt", "old")[0] == 0
    code, _, err = cli("personas", "new", "x", "--prompt", "new")
    assert (code, "use --force to replace it" in err) == (2, True)
    assert cli("personas", "new", "x", "--prompt", "new", "--force")[0] == 0
    assert load_file(user_folder() / "x.yaml")[0].prompt == "new"
    assert cli("personas", "new", "noir", "--force")[0] == 0
    assert [file.name for file in sorted(user_folder().iterdir())] == ["noir.yaml", "x.yaml"]


def test_force_keeps_what_else_a_broken_file_holds(cli: Cli) -> None:
    file = user_folder() / "c.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "name: c\nprompt: old\n---\nname: d\nprompt: [unclosed\n"
    file.write_text(text)
    code, _, err = cli("personas", "new", "c", "--prompt", "new", "--force")
    assert (code, "has other personas too: d" in err) == (2, True)
    assert file.read_text() == text


def test_new_in_another_folder_prints_how_to_use_it(cli: Cli) -> None:
    code, out, err = cli("personas", "new", "x", "--persona-dir", "elsewhere")
    assert (code, out) == (0, "elsewhere/x.yaml\n")
    assert "--persona-dir elsewhere" in err


def test_edit_opens_the_editor_and_checks_what_comes_of_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    editor = tmp_path / "an editor"
    editor.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[2], 'a').write(sys.argv[1])\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("EDITOR", f"'{editor}' 'weight: 2'")
    assert cli("personas", "new", "x", "--edit")[0] == 0
    assert load_file(user_folder() / "x.yaml")[0].weight == 2
    monkeypatch.setenv("EDITOR", f"'{editor}' 'wight: 2'")
    code, _, err = cli("personas", "new", "y", "--edit")
    assert (code, "wight: unknown key" in err) == (2, True)
