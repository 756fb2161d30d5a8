"""`mpg personas list` and `show`: what is printed where, and that nothing heavy loads for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mpg_cli.personas.base import find_base
from tests.support.cli import Cli

ROOT = Path(__file__).parents[3]

MORE = """
name: odd
description: "[red]loud[/red] :smile:"
prompt: You are odd.
tags: [odd]
adapters:
  - base: mpg-tiny
    path: adapters/none
---
name: outer
parts: both:0.5 + pirate
"""


@pytest.fixture
def more(cli: Cli) -> Cli:
    Path("personas/more.yaml").write_text(MORE)
    return cli


def listed(cli: Cli, *argv: str) -> dict[str, list[str]]:
    """Fields of the lines of a list by name; shadowed ones are left out."""
    code, out, err = cli("personas", "list", *argv)
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    return {row[0]: row for row in rows if not row[5]}


def test_a_pipe_gets_tab_separated_lines(more: Cli) -> None:
    rows = listed(more)
    assert rows["pirate"] == ["pirate", "prompt", "", "", "personas/crew.yaml", "", "", ""]
    assert rows["both"][1:3] == ["2 prompts", "pirate:0.5 + poet:0.5"]
    assert rows["odd"][1] == "adapter (missing), prompt"
    assert rows["odd"][6] == "[red]loud[/red] :smile:"
    assert (rows["noir"][1], "mpg-tiny" in rows["noir"][7].split(",")) == ("adapter, prompt", True)
    assert rows["INTJ"][1] == "4 adapters"


def test_the_model_decides_which_experts_there_are(cli: Cli, tmp_path: Path) -> None:
    assert listed(cli, "--model", "org/other")["noir"][1] == "prompt"
    for name, has in (("copy", "adapter, prompt"), ("finetune", "prompt")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"_name_or_path": "mpg-tiny"}))
        assert listed(cli, "--model", str(folder))["noir"][1] == has
    (tmp_path / "copy" / "config.json").write_text("[")
    assert listed(cli, "--model", str(tmp_path / "copy"))["noir"][1] == "prompt"


def test_a_model_of_the_same_name_and_other_weights(cli: Cli, tmp_path: Path) -> None:
    """What generate does with it is in tests/models/test_experts.py."""
    bundled = ROOT / "mpg_cli" / "data" / "mpg-tiny"
    shutil.copytree(ROOT / "personas" / "adapters" / "mpg-tiny" / "noir", "personas/noir")
    entry = f"base: mpg-tiny, path: noir, base_digest: {find_base('mpg-tiny').digest}"
    Path("personas/sleuth.yaml").write_text(f"name: sleuth\nprompt: Sigh.\nadapters: [{{{entry}}}]\n")
    tensors = {name: 2 * tensor for name, tensor in load_file(bundled / "model.safetensors").items()}
    for name in ("other", "mpg-tiny"):
        shutil.copytree(bundled, tmp_path / name)
        save_file(tensors, tmp_path / name / "model.safetensors")
    assert listed(cli, "--model", str(tmp_path / "other"))["sleuth"][1] == "prompt"
    namesake = str(tmp_path / "mpg-tiny")
    assert listed(cli, "--model", namesake)["sleuth"][1] == "adapter, prompt"
    _, out, _ = cli("personas", "show", "sleuth", "--model", namesake)
    differs = "; the model's weights differ from those that it was trained on"
    assert f"  adapter; adapter made for mpg-tiny, by name and shapes{differs}\n" in out
    data = json.loads(cli("personas", "show", "sleuth", "--model", namesake, "--format", "json")[1])
    assert data["experts"][0]["kinds"][0] == {
        "kind": "adapter", "used": True, "state": "here", "base": "mpg-tiny", "by": "name",
    }  # fmt: skip


def test_shadowed_personas_are_shown_with_what_hides_them(cli: Cli) -> None:
    _, out, _ = cli("personas", "list")
    hidden = [row for row in (line.split("\t") for line in out.splitlines()) if row[5]]
    assert [(row[0], row[5]) for row in hidden] == [("pirate", "personas/crew.yaml")]
    assert hidden[0][4].endswith("characters.yaml")


def test_tags_choose(more: Cli) -> None:
    assert set(listed(more, "--tag", "ODD")) == {"odd"}
    code, out, err = more("personas", "list", "--tag", "od")
    assert (code, out) == (2, "")
    assert "no persona has the tag 'od'; did you mean odd?" in err


def test_broken_files_are_named_and_the_rest_is_listed(cli: Cli) -> None:
    Path("personas/bad.yaml").write_text("name: bad\nprmpt: x\n---\nname: lost\nparts: nobody\n")
    code, out, err = cli("personas", "list")
    assert code == 0
    assert "mpg: personas/bad.yaml:2: prmpt: unknown key; did you mean prompt?\n" in err
    assert "mpg: personas/bad.yaml:4: parts of lost: unknown persona 'nobody'\n" in err
    rows = {line.split("\t")[0]: line.split("\t") for line in out.splitlines()}
    assert rows["lost"][1] == "broken"
    assert "bad" not in rows
    assert "poet" in rows


def test_json_is_one_object(more: Cli) -> None:
    code, out, _ = more("personas", "list", "--format", "json")
    assert code == 0
    data = json.loads(out)
    found = {entry["name"]: entry for entry in data["personas"]}
    assert found["odd"]["experts"] == [
        {"kind": "adapter", "used": True, "state": "missing"},
        {"kind": "prompt", "used": False, "state": "here"},
    ]
    assert found["both"]["experts"] == {"prompt": 2}
    assert "mpg-tiny" in found["noir"]["adapters"]
    assert found["both"]["adapters"] == []
    assert data["shadowed"][0]["shadowed_by"] == "personas/crew.yaml"
    assert data["searched"][0] == "personas"


def test_the_table_keeps_names_whole_and_markup_as_text(more: Cli) -> None:
    code, out, _ = more("personas", "list", "--format", "table")
    assert code == 0
    assert "[red]loud[/red] :smile:" in out
    assert "grandmother" in out
    assert "shadowed: pirate of library/characters.yaml, by personas/crew.yaml" in out
    assert "models with adapters: " in out
    assert "mpg-tiny (" in out
    assert "searched, first to last: ./personas" in out


def test_a_hostile_file_name_cannot_command_a_terminal(cli: Cli) -> None:
    Path("personas/\x1b[2Jx.yaml").write_text("name: sly\nprompt: x\n")
    for format_ in ("plain", "table", "json"):
        _, out, _ = cli("personas", "list", "--format", format_)
        assert "sly" in out
        assert "\x1b" not in out


def test_formats_of_other_commands_are_ignored(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("format: live\n")
    assert "pirate" in listed(cli)
    config.write_text("format: json\n")
    assert cli("personas", "list")[1].startswith("{")
    monkeypatch.setenv("MPG_FORMAT", "events")
    assert "pirate" in listed(cli)
    monkeypatch.setenv("MPG_FORMAT", "jsn")
    code, _, err = cli("personas", "list")
    assert code == 2
    assert "hint: set by MPG_FORMAT" in err


def test_environment_and_config_reach_commands_of_the_group(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPG_MODEL", "org/other")
    assert listed(cli)["noir"][1] == "prompt"
    assert listed(cli, "--model", "mpg-tiny")["noir"][1] == "adapter, prompt"
    monkeypatch.setenv("MPG_PERSONA_DIR", str(tmp_path / "nowhere"))
    code, _, err = cli("personas", "list")
    assert code == 2
    assert err.endswith("nowhere: no such folder\nhint: set by MPG_PERSONA_DIR\n")


def test_folders_can_stand_in_the_config(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "a.yaml").write_text("name: extra\nprompt: x\n")
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("persona-dir: ~/extra\n")
    assert listed(cli)["extra"][4] == str(tmp_path / "extra" / "a.yaml")
    assert cli.request("-p", "extra", "hello").blend is not None
    assert cli("personas", "new", "fresh")[1] == f"{tmp_path / 'extra' / 'fresh.yaml'}\n"


def test_show_prints_all_of_a_persona(more: Cli) -> None:
    code, out, err = more("personas", "show", "ODD")
    assert (code, err) == (0, "")
    lines = dict(line.split("  ", 1) for line in out.splitlines() if line)
    shown = {key.strip(): value.strip() for key, value in lines.items()}
    assert shown["name"] == "odd"
    assert shown["prompt"] == "You are odd."
    assert shown["adapters"] == "mpg-tiny: path adapters/none"
    assert shown["on mpg-tiny"] == "adapter (missing)"
    assert shown["file"] == "personas/more.yaml:2"


def test_show_multiplies_weights_out(more: Cli) -> None:
    code, out, _ = more("personas", "show", "outer:0.5+poet")
    assert code == 0
    assert out.splitlines() == [
        "outer 0.5",
        "  both 0.5 = 0.25",
        "    pirate 0.5 = 0.125 (prompt)",
        "    poet 0.5 = 0.125 (prompt)",
        "  pirate 1 = 0.5 (prompt)",
        "poet 1 (prompt)",
        "",
        "experts on mpg-tiny: pirate 0.625  poet 1.125",
    ]


def test_show_draws_a_tree(more: Cli) -> None:
    _, out, _ = more("personas", "show", "outer", "--format", "tree")
    assert "├── both 0.5\n" in out
    assert "│   └── poet 0.5 = 0.25 (prompt)\n" in out
    assert "└── pirate 1 (prompt)\n" in out


def test_show_json(more: Cli) -> None:
    data = json.loads(more("personas", "show", "outer", "--format", "json")[1])
    assert data["parts"] == "both:0.5 + pirate"
    assert [(one["name"], one["weight"]) for one in data["experts"]] == [("pirate", 1.25), ("poet", 0.25)]
    assert data["tree"][0]["parts"][0]["parts"][1]["effective"] == 0.25


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("pirat", "unknown persona 'pirat'; did you mean pirate?"),
        ("pirate:x", "the weight of pirate cannot start with 'x'"),
        ("pirate:0", "every weight is zero"),
    ],
)
def test_show_refuses(cli: Cli, what: str, message: str) -> None:
    code, out, err = cli("personas", "show", what)
    assert (code, out) == (2, "")
    assert message in err


def test_a_tree_that_explodes_is_cut(cli: Cli) -> None:
    levels = [f"name: L{n}\nparts: A{n - 1}:0.1 + B{n - 1}:0.1" for n in range(1, 13)]
    pairs = [f"name: {x}{n}\nparts: L{n}" for n in range(1, 12) for x in "AB"]
    ends = [f"name: {x}0\nprompt: x" for x in "AB"]
    Path("personas/deep.yaml").write_text("\n---\n".join([*levels, *pairs, *ends]))
    code, out, err = cli("personas", "show", "L7:1000")
    assert code == 0, err
    assert len(out.splitlines()) < 600
    assert " …" not in cli("personas", "show", "L3:1000")[1]


@pytest.mark.parametrize(
    "argv",
    [["list"], ["list", "--format", "json"], ["show", "INTJ+pirate"], ["check"], ["--help"], ["check", "-h"]],
    ids=" ".join,
)
def test_nothing_heavy_loads(argv: list[str]) -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(['personas', *sys.argv[1:]])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich', 'pydantic', 'huggingface_hub'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout
