"""`mpg eval mbti` from the command line, on the bundled model and few items."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.evaluation.item_files import BUILT_IN


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in an empty folder; exit code, stdout, stderr."""
    from mpg_cli.cli.app import main

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MPG_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    every = json.loads(BUILT_IN.read_text(encoding="utf-8"))
    few = [item for d in ("EI", "SN", "TF", "JP") for item in [i for i in every if i["dimension"] == d][:4]]
    (tmp_path / "few.json").write_text(json.dumps(few))

    def call(*argv: str) -> tuple[int, str, str]:
        return main(["eval", "mbti", *argv]), *capsys.readouterr()

    return call


def test_bars_for_a_blend(mpg: Any, tmp_path: Path) -> None:
    code, out, err = mpg("-p", "INTJ+pirate", "--items", "few.json", "--plot", "scores.svg")
    assert code == 0, err
    assert re.match(r"INTJ\+pirate on mpg-tiny: [EI][SN][TF][JP] ", out)
    assert len(re.findall("^blend ", out, re.M)) == len(re.findall("^base ", out, re.M)) == 4
    assert len(re.findall(r"^moved .*[+-]\d\.\d\d \[", out, re.M)) == 4
    assert max(map(len, out.splitlines())) <= 110
    assert "\x1b" not in out
    assert "using mpg-tiny" in err
    assert "<svg" in (tmp_path / "scores.svg").read_text()


def test_json_has_type_scores_intervals_and_the_base(mpg: Any) -> None:
    runs = [mpg("-p", "E", "--items", "few.json", "--format", "json", "-q") for _ in range(2)]
    assert runs[0] == runs[1]
    code, out, err = runs[0]
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["model"], found["target"], found["readout"]) == ("mpg-tiny", "product", "text")
    assert found["items"] == {"EI": 4, "SN": 4, "TF": 4, "JP": 4}
    (own,) = found["blends"]
    assert own["persona"] == "E"
    assert len(own["answers"]) == len(found["base"]["answers"]) == 16
    for part, base, moved in zip(own["scores"], found["base"]["scores"], own["shift"], strict=True):
        assert part["score"] - base["score"] == pytest.approx(moved["score"])
        low, high = part["interval"]
        assert low < part["score"] < high
    letters = "".join(p["dimension"][p["score"] <= 0] for p in own["scores"])
    assert own["type"] == letters


def test_all_prints_the_sixteen_types_and_the_confusion(mpg: Any) -> None:
    code, out, err = mpg("--all", "-p", "pirate", "--items", "few.json", "-q")
    assert code == 0, err
    assert len(re.findall(r"^[EI][SN][TF][JP]\+pirate +[EI][SN][TF][JP] ", out, re.M)) == 16
    rows = re.findall(r"^[EI][SN][TF][JP]  [·○● ]+$", out, re.M)
    assert len(rows) == 16
    assert all(row.count("●") + row.count("○") == 1 for row in rows)
    right = sum(row.count("●") for row in rows)
    assert f"{right} of 16 types recovered" in out


def test_a_file_of_one_dimension_gives_one_letter(mpg: Any, tmp_path: Path) -> None:
    line = {"statement": "I plan my day.", "dimension": "JP", "pole": "J"}
    (tmp_path / "agree.json").write_text(json.dumps([line] * 4))
    code, out, err = mpg("-p", "J", "--items", "agree.json", "--readout", "letter")
    assert code == 0, err
    assert re.match(r"J on mpg-tiny: [JP] ", out)


@pytest.mark.parametrize("readout", ["text", "letter"])
def test_a_published_questionnaire_is_asked_and_what_is_left_out_is_said(
    mpg: Any, tmp_path: Path, readout: str
) -> None:
    pairs = [("E", "I"), ("N", "S"), ("T", "F"), ("P", "J")] * 4
    entries = {
        str(number): {"question": f"On day {number} you\\nA. wait\\nB. go on", "A": a, "B": b}
        for number, (a, b) in enumerate([*pairs, ("T", "N")], 1)
    }
    (tmp_path / "published.json").write_text(json.dumps(entries, indent=4))
    argv = ["-p", "INTJ", "--items", "published.json", "--readout", readout, "--format", "json"]
    code, out, err = mpg(*argv)
    assert code == 0, err
    assert "published.json:82: 17: left out, as A and B stand for T and N" in err
    found = json.loads(out)
    assert found["items"] == {"EI": 4, "SN": 4, "TF": 4, "JP": 4}
    answers = found["base"]["answers"]
    assert all(-1 < value < 1 for value in answers)
    assert answers[0] * answers[1] < 0  # nearly the same question, the poles the other way round
    assert mpg(*argv, "-q")[2] == ""


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "a persona is missing"),
        (["-p", "nobody-here"], "unknown persona"),
        (["-p", "E", "--items", "nowhere.json"], "--items nowhere.json cannot be read"),
        (["-p", "E", "--items", "bad.json"], "bad.json:2: items[0].A: must be {text, pole}"),
        (["-p", "E", "--plot", "x.txt"], "--plot x.txt has an unknown format"),
        (["-p", "E", "--readout", "speech"], "unknown readout 'speech'"),
        (["--all", "--adapter", "x"], "--adapter cannot be combined with --all"),
        (["-p", "E+I:-1", "--target", "mixture"], "--target mixture does not allow negative weights"),
        (["--all", "--items", "half.json"], "--all needs items of all dimensions"),
    ],
)
def test_wrong_usage(mpg: Any, tmp_path: Path, argv: list[str], message: str) -> None:
    (tmp_path / "bad.json").write_text('[{"question": "Q?",\n"A": "a", "B": "b"}]')
    line = {"statement": "I plan my day.", "dimension": "JP", "pole": "J"}
    (tmp_path / "half.json").write_text(json.dumps([line] * 4))
    code, out, err = mpg(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_the_help_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from mpg_cli.cli.app import main; code = main(['eval', 'mbti', '--help']); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--readout" in done.stdout
