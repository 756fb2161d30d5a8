"""The benchmark measures what it says: rivals that sample the same law, runs in turn, ratios of medians."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.compare import RIVALS, with_experts
from benchmarks.measure import Measured, measure
from benchmarks.models import Subject, bundled, random_model
from benchmarks.ours import Ours, scaled_to
from benchmarks.page import goals, page
from benchmarks.rivals import mixed_batch, sequential
from benchmarks.table import MIXED, PLAIN, SEQUENTIAL, Table, table
from mpg_cli.request import Scheme


@pytest.fixture(scope="module")
def tiny() -> Subject:
    subject = bundled("cpu", "float32")
    return replace(with_experts(subject, 3), prompts=subject.prompts[:2], max_tokens=12)


def test_both_lock_steps_of_peft_draw_the_same_tokens(tiny: Subject) -> None:
    counts = []
    for make in (sequential, mixed_batch):
        run = make(tiny)
        torch.manual_seed(3)
        counts.append(([run() for _ in range(4)], float(torch.rand(1))))  # where the generator is now, too
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_answers_all_prompts(tiny: Subject, name: str) -> None:
    made = RIVALS[name](tiny)()
    assert 2 <= made <= 24


def test_mpgs_settings_make_the_same_text(tiny: Subject) -> None:
    ways = [Ours(tiny, Scheme(drafter=drafter, chunk_size=3)) for drafter in ("none", "merged", "folded")]
    assert len({way() for way in ways}) == 1
    assert ways[1].stats is not None
    assert ways[1].stats.tested > 0


def test_runs_take_turns_and_the_first_of_each_is_not_counted() -> None:
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return 10

    runs = {"a": lambda: run("a"), "b": lambda: run("b")}
    found = measure(lambda: None, runs, 2, torch.device("cpu"))
    assert order == ["a", "b"] * 3
    assert [len(one.speeds) for one in found] == [2, 2]


def test_weights_are_scaled_until_drafts_are_accepted_as_often(tmp_path: Path) -> None:
    """A random model of one layer: stronger adapters, fewer accepted drafts."""
    subject = random_model("385m", 1, "cpu", "float32", 16, 8, tmp_path)
    assert len(subject.folders) == 5
    found, reached = scaled_to(subject, 0.9, steps=3, seconds=0.5)
    assert found.scale != subject.scale or abs(reached - 0.9) < 0.01
    assert 0.0 < reached <= 1.0


def example(subject: str = "mpg-tiny, float32") -> Table:
    rows = (
        Measured(PLAIN, (100.0, 120.0, 110.0), 1.1, memory=400.0),
        Measured(SEQUENTIAL, (10.0,), 12.0),
        Measured(MIXED, (30.0,), 4.0),
        Measured("mpg, lock-step", (60.0,), 2.0),
        Measured("mpg, exact, folded drafts of 4", (99.0,), 1.2, acceptance=0.9, committed=4.1),
        Measured("mpg, threshold, folded drafts of 4", (200.0,), 0.6, acceptance=0.9, bias_bound=0.5),
    )
    return Table(subject, 5, 1.0, rows)


def test_ratios_are_of_medians_and_the_best_setting_is_a_lossless_one() -> None:
    found = example()
    assert found.times(PLAIN)["mpg, lock-step"] == pytest.approx(60 / 110)
    assert found.best.name == "mpg, exact, folded drafts of 4"
    reached = {(goal.what, goal.met) for goal in goals([found])}
    assert reached == {("times PEFT's mixed batch", True), ("of `generate` on the base alone", True)}
    large = list(goals([example("random Qwen3 of 385 M, bfloat16")]))
    assert [(goal.wanted, goal.met) for goal in large] == [(4.0, True), (1.9, True), (1.45, True)]


def test_table_and_page_name_every_contender() -> None:
    found = example()
    shown, written = table(found), page("command", {"machine": "m"}, [found])
    for row in found.rows:
        assert row.name in shown
        assert row.name in written
    assert "**no**" not in written
    worse = replace(
        found, rows=tuple(replace(r, speeds=(31.0,)) if "mpg" in r.name else r for r in found.rows)
    )
    assert "**no**" in page("command", {"machine": "m"}, [worse])
