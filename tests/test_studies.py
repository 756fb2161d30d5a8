"""The studies run through in a short version."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mpg_cli.evaluation.classifier import HeldOut
from mpg_cli.evaluation.metrics import Metrics
from mpg_cli.evaluation.prompts import EvalPrompt, Reply
from mpg_cli.personas.persona_data import NAMES
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.state import SequenceState
from studies.blends.__main__ import main as blends
from studies.blends.bench import BLENDS, Size, questions
from studies.blends.blend import BASELINES, Outcome
from studies.blends.summary import against
from studies.judges import page as judges_page
from studies.own_sampling import Scored
from studies.own_sampling import main as own_sampling
from studies.same_text import difference
from studies.same_text import main as same_text
from studies.scr.__main__ import main
from studies.scr.grid import GAMMAS, grid
from studies.scr.redraft import redraft
from tests.sampling.fake import FakeScorer, random_law
from tests.sampling.sampled import MERGED, ROWS, decoding


def test_the_page_of_the_judges_has_a_row_a_persona_and_says_who_is_refused() -> None:
    results = [HeldOut(name, 180, 0.9, 0.5 if name == "noir" else 0.95) for name in NAMES]
    text = judges_page({"classifier": results, "encoder": results})
    rows = [line for line in text.splitlines() if line.startswith("| ") and "persona" not in line]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in NAMES]
    assert rows[0] == "| E | 90% | 95% | 92% | 90% | 95% | 92% |"
    assert [row.split()[1] for row in rows if "(refused)" in row] == ["noir"]


def test_the_grid_has_every_required_setting() -> None:
    settings = list(grid())
    assert len(settings) == len(set(settings))
    for rule in ("exact", "block"):
        for drafter in ("reference", "persona:pirate", "merged", "lookup"):
            assert {s.gamma for s in settings if (s.rule, s.drafter) == (rule, drafter)} == set(GAMMAS)
    merged = [s for s in settings if (s.rule, s.drafter) == ("threshold", "merged")]
    assert {s.candidates for s in merged} == {1, 4, 8}
    assert {s.quantile for s in merged} == {1.0, 0.9, 0.5}


def test_a_short_run_writes_page_plots_and_numbers(tmp_path: Path) -> None:
    assert main(["--short", "--out", str(tmp_path)]) == 0
    with (tmp_path / "scr" / "results.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(list(grid((4,))))
    exact = [row for row in rows if row["rule"] == "exact"]
    assert all(float(row["same_text"]) == 1 for row in exact)
    assert all(float(row["committed_per_pass_low"]) >= 1 for row in exact)
    page = (tmp_path / "scr.md").read_text(encoding="utf-8")
    assert "## Recommendation" in page
    assert "**Drafter `merged`.**" in page
    for plot in ("speed", "passes", "fidelity"):
        assert (tmp_path / "scr" / f"{plot}.svg").stat().st_size > 10_000
        assert f"scr/{plot}.svg" in page


def test_a_short_run_needs_a_place_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--short"])
    assert "--short needs --out" in capsys.readouterr().err


def test_whole_chunks_redrafted_are_accepted_or_not() -> None:
    """Of the plain reading: prefixes are never accepted, and what is committed is what was drafted."""
    how = decoding(rule="threshold", chunk_size=2, ends=False)
    states = [SequenceState(Noise(0, n), how, 80) for n in range(2)]
    target, drafter = FakeScorer(random_law, ROWS, batch=2), FakeScorer(random_law, (MERGED,), batch=2)
    for scorer in (target, drafter):
        scorer.streams = [[[0]], [[1]]]
    rounds = list(redraft(target, drafter, states, [0, 1], passes=2000))
    assert all(r.accepted in (0, len(r.draft)) and r.tokens == r.draft[: r.accepted] for r in rounds)
    assert any(r.accepted for r in rounds)
    assert any(not r.accepted for r in rounds)
    for number, state in enumerate(states):
        own = [token for r in rounds if r.sequence == number for token in r.tokens]
        assert own == state.tokens
        assert len(own) == 80
        assert state.finish_reason == "length"


def test_there_are_enough_blends_and_questions_are_disjoint() -> None:
    assert len(BLENDS) >= 12
    assert {len(names) for names in BLENDS} == {2, 3, 4, 5}
    tuning, reported = questions(Size())
    assert len(reported) == 100
    assert not set(tuning) & set(reported)


def measured(presence: tuple[float, float], fluency: float, rng: np.random.Generator) -> Metrics:
    """Fifty replies that show two personas at these rates; one reply is empty."""
    return Metrics(
        "m",
        ("a", "b"),
        tuple(EvalPrompt(str(n), "?") for n in range(50)),
        tuple(Reply(str(n), "t", (1,), "stop", 1.0, fluency if n else None) for n in range(50)),
        tuple(tuple(float(rng.random() < rate) for rate in presence) for _ in range(50)),
    )


def test_all_blends_together_are_the_mean_of_their_least_presences() -> None:
    rng = np.random.default_rng(3)
    outcomes = []
    for _ in range(6):
        methods = {"exact": measured((0.9, 0.8), -1.0, rng), "merged": measured((0.6, 0.9), -0.8, rng)}
        outcomes.append(Outcome(("a", "b"), methods, {}, "exact", (8, 8), 1.0))
    found = against(outcomes, lambda o: "exact", lambda o: "merged")
    ours, theirs = (
        float(np.mean([o.methods[name].matrix.mean(axis=0).min() for o in outcomes]))
        for name in ("exact", "merged")
    )
    assert found.gain.value == pytest.approx(ours / theirs - 1)
    assert found.least.value == pytest.approx(ours - theirs)
    assert found.fluency.value == pytest.approx(-0.2)
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.least.excludes_zero
    same = against(outcomes, lambda o: "exact", lambda o: "exact")
    assert (same.least.low, same.least.high, same.wins) == (0, 0, 0)


def test_a_quick_run_of_the_blends_writes_page_plot_and_numbers(tmp_path: Path) -> None:
    assert blends(["--quick", "--jobs", "1", "--out", str(tmp_path)]) == 0
    with (tmp_path / "blends" / "results.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for blend in ("I+pirate", "I+N+T+J+pirate"):
        own = {row["method"]: row for row in rows if row["blend"] == blend}
        assert {*BASELINES, "mixture", "threshold", "exact"} <= own.keys()
        best = max(BASELINES, key=lambda name: (float(own[name]["minimum"]), float(own[name]["mean"])))
        assert own[best]["best_other"] == "yes"
    page = (tmp_path / "blends.md").read_text(encoding="utf-8")
    assert "The goal is" in page
    assert "6 of 6 replies of exact" in page
    assert (tmp_path / "blends" / "presence.svg").stat().st_size > 5_000


def test_a_short_run_of_own_sampling_writes_its_page_and_goes_on_with_its_log(tmp_path: Path) -> None:
    short = ["--short", "--out", str(tmp_path), "--log", str(tmp_path / "log.jsonl")]
    assert own_sampling(short) == 0
    page, log = ((tmp_path / name).read_text(encoding="utf-8") for name in ("own-sampling.md", "log.jsonl"))
    table = [line.split(" | ") for line in page.splitlines() if line.startswith("| temperature 1 |")]
    assert float(table[0][1]) > 0
    for blend in ("pirate", "INTJ+pirate"):
        assert sum(json.loads(line).get("blend") == blend for line in log.splitlines()) == 8
    half = log.splitlines(keepends=True)[:20]
    (tmp_path / "log.jsonl").write_text("".join(half), encoding="utf-8")
    assert own_sampling(short) == 0
    assert (tmp_path / "own-sampling.md").read_text(encoding="utf-8") == page
    again = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert texts_of(again) == texts_of(log)  # log-probabilities differ in the last bits: other passes


def texts_of(log: str) -> list[list[str]]:
    return [[reply["text"] for reply in json.loads(line).get("replies", [])] for line in log.splitlines()]


def test_texts_of_a_seed_are_the_same_in_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert same_text(["--short", "--replies", "30"]) == 0
    out = capsys.readouterr().out
    assert "30 of 30 replies are equal" in out
    assert "lookup 16, 8 together: 1 replies" in out


def test_the_first_difference_of_two_replies() -> None:
    assert difference([1, 2, 3], [1, 2, 3]) is None
    assert difference([1, 2, 3], [1, 4]) == 1
    assert difference([1, 2], [1, 2, 3]) == 2


def test_loops_and_stray_tokens_of_a_reply() -> None:
    reply = Scored("We like to sail. We like to sail, and they sail.", (-1.0, -6.9, -6.91), 0.0)
    assert not reply.loops
    assert Scored(f"{reply.text} We like to sail.", (), 0.0).loops
    assert reply.stray == 1
