"""`mpg train` from the command line to `mpg generate`, on a tiny random model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.options.model import ModelOptions
from mpg_cli.options.personas import PlaceOptions
from mpg_cli.options.training import AboutOptions, DataOptions
from mpg_cli.personas.persona_file import Texts
from mpg_cli.training import workflow
from mpg_cli.training.notices import Notices
from mpg_cli.training.settings import Choices
from tests.support.cli import QUICK, Cli, refused, trained
from tests.support.files import written
from tests.support.models import save_chat_model
from tests.support.preferences import preferences

ROOT = Path(__file__).parents[3]


def test_generate_finds_the_persona_at_once(mpg: Cli, model: Path) -> None:
    summary = trained(mpg, model, "--description", "Says no.", "--license", "CC0-1.0", "--epochs", "20")
    home = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "personas"
    assert summary["file"] == str(home / "grump.yaml")
    assert summary["rows"] == {
        "read": 24,
        "left_out": 0,
        "too_long": 0,
        "cut": 0,
        "trained": 22,
        "held_out": 2,
    }
    assert summary["held_out"]["accuracy"] == 1.0
    assert summary["settings"]["loss"] == "ipo"
    from mpg_cli.personas.base import find_base

    assert (home / "grump.yaml").read_text().replace('"', "") == (
        "name: grump\ndescription: Says no.\nadapters:\n  - base: tiny-one\n"
        f"    base_digest: {find_base(str(model)).digest}\n"
        "    path: adapters/tiny-one/grump\nlicense: CC0-1.0\nsource: trained with mpg on prefs.jsonl\n"
    )
    argv = ("-p", "grump", "--model", model, "--max-tokens", "4", "--temperature", "0", "--format", "json")
    code, out, err = mpg("generate", *argv, "--device", "cpu", "say 99")
    assert code == 0, err
    reply = json.loads(out)
    assert reply["experts"] == [{"name": "grump", "kind": "adapter", "weight": 1.0}]
    assert reply["text"] == "aaaa"
    assert "adapter made for" not in err
    moved = shutil.copytree(model, "elsewhere")
    code, out, err = mpg("generate", *argv[:2], "--model", moved, *argv[4:], "--device", "cpu", "say 99")
    assert (code, json.loads(out)["text"]) == (0, "aaaa")
    assert "grump: adapter made for tiny-one is used, by the digest of its base" in err


def test_nothing_names_the_machine(mpg: Cli, model: Path, tmp_path: Path) -> None:
    trained(mpg, model, "--persona-dir", "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "grump.yaml",
    ]
    for path in files:
        content = path.read_bytes()
        for place in (tmp_path, model.parent, Path.home(), Path(sys.prefix)):
            assert str(place).encode() not in content


def test_the_text_summary_has_the_next_command(mpg: Cli, model: Path) -> None:
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    lines = out.splitlines()
    assert lines[1].startswith("22 pairs, 6 steps in ")
    assert lines[3].startswith("held out, 2 pairs: accuracy 100% (loss ")
    assert lines[4] == f"try it: mpg generate --persona grump --model {model} '…'"
    assert "step 6/6: loss " in err
    assert "2 epochs, rate 0.02; rank 4, batch 8, seed 0" in err


def test_quiet_prints_only_the_summary(mpg: Cli, model: Path) -> None:
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "-q")
    assert (code, err) == (0, "")
    assert out.startswith("persona grump for tiny-one: ")


def test_responses_are_imitated(mpg: Cli, model: Path) -> None:
    summary = trained(mpg, model, "--sft", "--data", "plain.jsonl", "--eval-split", "0")
    assert summary["settings"]["method"] == "sft"
    assert summary["held_out"] is None


def test_a_second_model_is_one_more_entry(mpg: Cli, model: Path, tmp_path: Path) -> None:
    trained(mpg, model, "--persona-dir", "out")
    other = save_chat_model(tmp_path / "tiny-two")
    trained(mpg, other, "--persona-dir", "out")
    from mpg_cli.personas.schema import load_file

    (persona,) = load_file(tmp_path / "out" / "grump.yaml")
    assert {entry.base for entry in persona.adapters} == {"tiny-one", "tiny-two"}
    argv = ("-p", "grump", "--persona-dir", "out", "--max-tokens", "2", "--device", "cpu", "--dry-run")
    for base in (model, other):
        assert mpg("generate", *argv, "--model", base, "hi")[0] == 0


def test_a_persona_of_the_library_is_carried_over(mpg: Cli, model: Path) -> None:
    """The new file extends it, so other models keep their adapters."""
    code, out, err = mpg("train", "pirate", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0, err
    library = ROOT / "personas" / "characters.yaml"
    theirs = ["HuggingFaceTB/SmolLM2-135M-Instruct", "mpg-tiny"]
    assert (
        f"mpg: the new pirate comes before the one of {library}:2 and extends it: {', '.join(theirs)}"
    ) in err
    from mpg_cli.personas.registry import load_default
    from mpg_cli.personas.schema import load_file

    new = load_default().get("pirate")
    assert [entry.base for entry in new.adapters] == ["tiny-one", *theirs]
    assert new.source == "trained with mpg on prefs.jsonl"
    old = next(persona for persona in load_file(library) if persona.name == "pirate")
    for field in ("description", "prompt", "license", "tags"):
        assert getattr(new, field) == getattr(old, field) != ""
    code, out, err = mpg("generate", "-p", "I+pirate", "--max-tokens", "2", "--format", "json", "hi")
    assert code == 0, err
    kinds = {expert["name"]: expert["kind"] for expert in json.loads(out)["experts"]}
    assert kinds == {"I": "adapter", "pirate": "adapter"}


@pytest.mark.usefixtures("mpg")
def test_what_is_given_comes_before_what_is_carried() -> None:
    def asked(name: str, place: PlaceOptions, about: AboutOptions) -> tuple[Texts, str]:
        messages: list[str] = []
        notices = Notices(lambda text, dim=False: messages.append(text), quiet=False)
        model, data = ModelOptions("mpg-tiny"), DataOptions(data=(Path("prefs.jsonl"),))
        where = workflow.destination(place.folder, name, model.name)
        request = workflow.read_request(where, model, data, about, Choices(), {}, notices)
        return request.texts, "\n".join(messages)

    given = AboutOptions(prompt="Be calm.", source="me")
    zen, err = asked("zen", PlaceOptions(persona_dir=Path("out")), given)
    intj, messages = asked("INTJ", PlaceOptions(), AboutOptions())
    grump, nothing = asked("grump", PlaceOptions(), AboutOptions())
    assert (zen.prompt, zen.source, zen.license, zen.tags) == ("Be calm.", "me", "CC0-1.0", ("character",))
    assert zen.description == "An old monk on a mountain; breath, river and moon."
    assert "which has adapters for HuggingFaceTB/SmolLM2-135M-Instruct, mpg-tiny; on Hugging" in err
    assert not zen.extends
    assert "the new INTJ hides the one of " in messages
    assert (intj.prompt, intj.tags) == (None, ("mbti", "type"))
    assert "hides" not in nothing
    assert (grump.prompt, grump.tags) == (None, ())


def test_an_adapter_is_replaced_only_by_force(mpg: Cli, model: Path) -> None:
    first = trained(mpg, model, "--persona-dir", "out")
    weights = Path(first["adapter"]) / "adapter_model.safetensors"
    before = weights.read_bytes()
    argv = ("grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out", "--seed", "1")
    assert "grump already has an adapter for tiny-one" in refused(mpg, *argv)
    assert weights.read_bytes() == before
    trained(mpg, model, "--persona-dir", "out", "--seed", "1", "--force")
    assert weights.read_bytes() != before


def test_the_same_run_gives_the_same_adapter(mpg: Cli, model: Path) -> None:
    one = Path(trained(mpg, model, "--persona-dir", "a")["adapter"])
    two = Path(trained(mpg, model, "--persona-dir", "b")["adapter"])
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_bad_rows_are_named_counted_and_left_out(mpg: Cli, model: Path, tmp_path: Path) -> None:
    bad = [{"prompt": "x", "chosen": "", "rejected": "b"}, "{", {"prompt": "x", "chosen": "a"}]
    written(tmp_path / "bad.jsonl", [*preferences(20), *bad])
    argv = ("grump", "--model", model, *QUICK, "--data", "bad.jsonl")
    lines = [
        "bad.jsonl:21: chosen is empty",
        "bad.jsonl:22: not JSON: Expecting property name enclosed in double quotes at column 2",
        "bad.jsonl:23: rejected is missing (found: prompt, chosen)",
    ]
    assert refused(mpg, *argv, "--strict") == "\n".join(
        [
            "mpg: error: 3 rows of the data cannot be used:",
            *lines,
            "hint: correct them, or leave out --strict to skip them",
            "",
        ]
    )
    code, out, err = mpg("train", *argv, "--format", "json")
    assert code == 0
    assert "\n".join(["mpg: 3 rows of the data left out:", *lines, ""]) in err
    assert json.loads(out)["rows"]["left_out"] == 3


def test_columns_that_are_not_read_are_named(mpg: Cli, model: Path, tmp_path: Path) -> None:
    written(tmp_path / "more.jsonl", [row | {"id": 1, "\x1b[2J": "x"} for row in preferences(20)])
    code, _, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "more.jsonl")
    assert code == 0
    assert "mpg: columns of the data that are not used: id, \\x1b[2J\n" in err


def test_single_replies_with_a_label_get_a_hint(mpg: Cli, tmp_path: Path) -> None:
    written(tmp_path / "kto.jsonl", [{"prompt": "x", "completion": "a", "label": True}] * 12)
    err = refused(mpg, "grump", "--data", "kto.jsonl")
    assert "kto.jsonl:1: label labels single replies (KTO); give pairs of chosen and" in err
    assert "and 11 more: 11 × no pair\n" in err
    assert "too little data: 0 usable pairs; 12 more cannot be used" in err


def test_of_single_replies_the_good_ones_are_imitated(mpg: Cli, model: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": "aaaa", "label": n % 4 > 0} for n in range(24)]
    written(Path("kto.jsonl"), rows)
    code, out, err = mpg(
        "train", "grump", "--sft", "--model", model, *QUICK, "--format", "json", "--data", "kto.jsonl"
    )
    assert code == 0
    assert (
        "kto.jsonl:1: label labels the reply as undesirable; only desirable ones are imitated\nand 5 more"
        in err
    )
    assert json.loads(out)["rows"]["read"] == 24
    assert json.loads(out)["rows"]["left_out"] == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["7up", "--data", "prefs.jsonl"], "'7up' is not a valid persona name"),
        (["grump"], "missing option '--data'"),
        (["grump", "--data", "none.jsonl"], "--data none.jsonl cannot be read: No such file"),
        (["grump", "--data", "plain.jsonl"], "too little data: 0 usable pairs; 24 more cannot be used"),
        (
            ["grump", "--data", "prefs.jsonl", "--loss", "ipoo"],
            "unknown loss 'ipoo' (choose from sigmoid",
        ),
        (["grump", "--data", "prefs.jsonl", "--rank", "0"], "--rank 0 must be at least 1"),
        (
            ["grump", "--data", "prefs.jsonl", "--format", "live"],
            "unknown format 'live' (choose from text, json)",
        ),
        (["grump", "--data", "prefs.jsonl", "--sft", "--beta", "1"], "--beta applies to preference data"),
        (["grump", "--data", "prefs.jsonl", "--prompt", "\x1b[2J"], "the persona file would not be valid"),
    ],
)
def test_wrong_usage_is_refused_before_anything_loads(
    mpg: Cli, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "mpg_cli.training.base_model", None)
    assert message in refused(mpg, *argv)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--targets", "q_prj"], 2, "--targets: 'q_prj' is not a layer of this model; did you mean q_proj"),
        (["--max-length", "4096"], 2, "--max-length 4096 is beyond the 128 positions of this model"),
        (["--dtype", "float16"], 2, "--dtype float16 can be trained on CUDA only"),
        (["--learning-rate", "1e30"], 1, "training diverged"),
    ],
)
def test_what_the_model_does_not_allow(
    mpg: Cli, model: Path, argv: list[str], code: int, message: str
) -> None:
    common = ("--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out")
    Path("out/adapters/tiny-one").mkdir(parents=True)
    assert message in refused(mpg, "grump", *common, *argv, code=code)


def test_the_missing_extra_is_one_message(mpg: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    assert refused(mpg, "grump", "--data", "prefs.jsonl", code=1) == (
        "mpg: error: training needs trl, which is not installed\nhint: pip install 'mpg-cli[train]'\n"
    )


def test_a_full_disk_leaves_nothing_under_the_final_name(
    mpg: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is kept, and the same command ends it without another step."""
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if Path("out/adapters/tiny-one/.grump.new").exists():  # the adapter is being written
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    argv = ("grump", "--model", model, *QUICK, "--data", "prefs.jsonl", "--persona-dir", "out")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = mpg("train", *argv)
    assert code == 1
    assert "mpg: error: the adapter cannot be written to out: No space left on device" in err
    assert [path.name for path in Path("out/adapters/tiny-one").iterdir()] == [".grump.training"]
    assert not Path("out/grump.yaml").exists()
    summary = trained(mpg, model, "--persona-dir", "out")
    assert (summary["resumed_at"], summary["steps"]) == (6, 6)
    assert sorted(path.name for path in Path("out/adapters/tiny-one").iterdir()) == ["grump"]


def test_a_persona_that_hides_the_new_one_is_reported(mpg: Cli, model: Path) -> None:
    Path("personas").mkdir()
    Path("personas/mine.yaml").write_text("name: grump\nprompt: No.\n")
    code, _, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    assert "personas/mine.yaml:1 also has a persona grump and is searched first" in err


def test_the_format_of_generate_in_the_config_does_no_harm(mpg: Cli, model: Path) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "mpg" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("format: plain\nseed: 3\n")
    code, out, err = mpg("train", "grump", "--model", model, *QUICK, "--data", "prefs.jsonl")
    assert code == 0
    assert out.startswith("persona grump")
    assert "seed 3" in err


def test_too_long_prompts_leave_too_little_data(mpg: Cli, model: Path) -> None:
    rows = [row | {"prompt": row["prompt"] + "x" * (100 * (n > 8))} for n, row in enumerate(preferences())]
    written(Path("long.jsonl"), rows)
    argv = ("grump", "--model", model, *QUICK, "--data", "long.jsonl", "--max-length", "40")
    Path(os.environ["XDG_CONFIG_HOME"], "mpg", "personas").mkdir(parents=True)
    err = refused(mpg, *argv)
    assert "too little data: 9 usable pairs; 15 more cannot be used, at least 10 are needed" in err
    assert "hint: raise --max-length: 40 tokens leave no room for a reply" in err


def test_rows_that_do_not_fit_are_counted_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from mpg_cli.io.terminal import Streams
    from mpg_cli.training.notices import Notices

    trained: Any = SimpleNamespace(too_long=1, cut=2)
    Notices(Streams.current().message, quiet=False).lengths(trained, 128)
    assert capsys.readouterr().err == (
        "mpg: left out, no room for a reply in 128 tokens: 1 prompt (--max-length)\n"
        "mpg: cut at 128 tokens: 2 rows (--max-length)\n"
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(['train', '--help'])\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'rich', 'numpy'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert "--likelihood" in done.stdout


def test_bad_data_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    code = (
        "import sys; from mpg_cli.cli.app import main\n"
        "code = main(['train', 'x', '--data', 'x.jsonl']); print('torch' in sys.modules, code)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "False 2\n"
    assert "x.jsonl:1: chosen is missing (found: nothing)" in done.stderr
