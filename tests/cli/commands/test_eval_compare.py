"""`mpg eval compare` from the command line: every method, and the exact rule's text token by token."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

import mpg_cli
from mpg_cli.engine.request import Request
from mpg_cli.evaluation.methods import merged
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.registry import library_dir
from mpg_cli.sampling.params import Sampling, Scheme

BUNDLED = Path(mpg_cli.__file__).parent / "data" / "mpg-tiny"
NAMES = [
    "base",
    "single:I",
    "single:pirate",
    "prompts",
    "merged",
    "merged 1/K",
    "mixture",
    "threshold",
    "exact",
]


@pytest.fixture
def mpg(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in an empty folder; exit code, stdout, stderr."""
    from mpg_cli.cli.app import main

    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> tuple[int, str, str]:
        common = ["--model", "mpg-tiny", "--max-tokens", "24", "--count", "4", "--dtype", "float32"]
        return main(["eval", "compare", *common, *argv]), *capsys.readouterr()

    return call


def test_json_has_every_method_and_exact_is_token_by_token(mpg: Any, tmp_path: Path) -> None:
    argv = ["-p", "I+pirate", "--format", "json", "-q", "-o", "out.jsonl", "--plot", "plot.svg"]
    code, out, err = mpg(*argv)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [own["method"] for own in found["methods"]] == NAMES
    assert found["equal_to_token_by_token"] == {"replies": 4, "of": 4}
    assert found["ours"] == "exact"
    rivals = [own for own in found["methods"] if own["method"] not in ("exact", "threshold")]
    best = max(rivals, key=lambda own: (own["minimum"]["value"], own["mean"]["value"]))
    assert found["best_other"] == best["method"] == found["difference"]["other"]
    exact = found["methods"][-1]
    for figure in ("minimum", "mean", "all_together", "fluency"):
        difference = found["difference"][figure]
        assert difference["value"] == pytest.approx(exact[figure]["value"] - best[figure]["value"])
        assert difference["interval"][0] <= difference["value"] <= difference["interval"][1]
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()[1:]]
    assert {record["method"] for record in records} == set(NAMES)
    code, again, err = mpg(*argv)
    assert json.loads(again)["methods"] == found["methods"]


def test_a_table_for_a_person_and_a_line_a_method_in_csv(mpg: Any) -> None:
    """The second run has the replies of the first."""
    argv = ("-p", "I+pirate", "--count", "2", "-o", "out.jsonl")
    code, out, err = mpg(*argv)
    assert code == 0, err
    head = next(line for line in out.splitlines() if line.startswith("method "))
    figures = ["method", "min", "mean", "all", "fluency", "self-BLEU", "tokens", "tokens/s", "I", "pirate"]
    assert head.split() == figures
    for name in NAMES:
        assert re.search(rf"^{re.escape(name)} +\d+%", out, re.M), name
    assert "2 of 2 replies of exact are identical to token-by-token decoding." in out
    assert "\x1b" not in out
    code, out, err = mpg(*argv, "--format", "csv")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["method"] for row in rows] == NAMES
    assert all(
        float(row["minimum_low"]) <= float(row["minimum"]) <= float(row["minimum_high"]) for row in rows
    )


def test_methods_a_blend_cannot_have_are_left_out_with_a_notice(mpg: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nprompt: You are mine.\n")
    (tmp_path / "m.yaml").write_text("mine: [you]\npirate: [arr]\n")
    code, out, err = mpg("-p", "mine+zen:-0.5", "--persona-dir", ".", "--markers", "m.yaml", "--count", "1")
    assert code == 0, err
    assert "mixture: left out" in err
    assert re.search("^exact ", out, re.M)
    assert not re.search("^mixture ", out, re.M)
    code, out, err = mpg("-p", "mine", "--persona-dir", ".", "--markers", "m.yaml", "--count", "1")
    assert code == 0, err
    assert "merged: left out, no persona of the blend is an adapter" in err


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "a persona is missing"),
        (["-p", "pirate", "--judge", "none"], "a comparison needs a judge"),
        (["-p", "pirate", "--plot", "x.txt"], "--plot x.txt has an unknown format"),
        (["-p", "pirate:-1"], "no persona of the blend has a positive weight"),
        (["-p", "pirate", "--drafter", "persona:zen"], "is not in the blend"),
        (
            ["--adapter", "a/final", "--adapter", "b/final:-1"],
            "--adapter a/final and --adapter b/final are both called final",
        ),
        (["-p", "I+pirate", "--adapter", "x/pirate"], "and --adapter x/pirate are both called pirate"),
    ],
)
def test_wrong_usage_is_reported_before_anything_loads(mpg: Any, argv: list[str], message: str) -> None:
    code, out, err = mpg(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_a_draft_model_does_not_change_the_text_of_exact(mpg: Any, tmp_path: Path) -> None:
    """The drafter is the bundled model under its path: what matters is that it is opened and asked."""
    place = str(BUNDLED)
    common = ["-p", "I+pirate", "--count", "2", "--format", "json", "-q"]
    code, out, err = mpg(*common, "--drafter", f"model:{place}", "-o", "model.jsonl")
    assert (code, err) == (0, "")
    assert json.loads(out)["equal_to_token_by_token"] == {"replies": 2, "of": 2}
    code, out, err = mpg(*common, "--drafter", f"model:{place}", "--chunk-size", "0", "-o", "none.jsonl")
    assert (code, err) == (0, "")
    said = [texts(tmp_path / name, "exact") for name in ("model.jsonl", "none.jsonl")]
    assert said[0] == said[1]


def texts(file: Path, method: str) -> dict[str, str]:
    """The replies of a method in the records, by their id."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return {r["id"]: r["text"] for r in records if r["type"] == "reply" and r["method"] == method}


def test_the_merged_model_has_the_sum_of_all_changes_in_its_weights() -> None:
    library = library_dir()
    assert library is not None
    loaded = load_model("mpg-tiny", device="cpu", dtype="float32")
    adapters = [read_adapter(library / "adapters" / "mpg-tiny" / name, name) for name in ("I", "pirate")]
    experts = [Expert(adapter.label, 1.0, adapter=adapter) for adapter in adapters]
    request = Request(ModelOptions(), Prompting("?"), Sampling(max_tokens=4), Scheme(), adapters=(), seed=0)
    source = merged(loaded, experts, [0.5, 2.0], request)
    name, first = next(iter(adapters[0].pairs.items()))
    second = adapters[1].pairs[name]
    before = dict(loaded.model.named_modules())[name].weight
    after = dict(source.loaded.model.named_modules())[name].weight
    change = 0.5 * first.scale * first.b.float() @ first.a.float()
    change += 2 * second.scale * second.b.float() @ second.a.float()
    assert (after - before - change).abs().max() < 1e-5
    assert source.request.blend is None
    assert source.request.scheme.drafter == "none"
