"""The benchmarks: baselines sample the same distribution, runs are interleaved, ratios are of medians."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import engine, kernels
from benchmarks.baselines import (
    generate_base,
    generate_merged,
    generate_merged_in_place,
    mixed_batch,
    sequential,
)
from benchmarks.before import HERE, against
from benchmarks.compare import BASELINES, with_experts
from benchmarks.measure import PEAK_PREFIX, Measured, measure, peak_memory
from benchmarks.models import Subject, bundled, random_model
from benchmarks.ours import Ours, scaled_to
from benchmarks.page import goals, page
from benchmarks.table import MIXED, PLAIN, SEQUENTIAL, Table, table
from mpg_cli.models.fast.prepacked import available
from mpg_cli.sampling.params import Scheme
from tests.support.models import is_repacked


@pytest.fixture(scope="module")
def tiny() -> Subject:
    subject = bundled("cpu", "float32")
    return replace(with_experts(subject, 3), prompts=subject.prompts[:2], max_tokens=12)


def test_both_token_by_token_decoders_of_peft_draw_the_same_tokens(tiny: Subject) -> None:
    one, other = sequential(tiny)(12), mixed_batch(tiny)(12)
    assert one == other
    assert one[0] != one[1]


def test_a_merged_adapter_is_the_same_model_in_place_and_in_a_copy(tiny: Subject) -> None:
    copied = generate_merged(tiny)(12)
    own = bundled("cpu", "float32")
    own = replace(with_experts(own, 3), prompts=own.prompts[:2], max_tokens=12)
    plain = generate_base(own)(12)
    assert generate_merged_in_place(own)(12) == copied != plain


@pytest.mark.parametrize("name", BASELINES)
def test_every_rival_answers_all_prompts(tiny: Subject, name: str) -> None:
    run = BASELINES[name](tiny)
    assert [len(reply) for reply in run(1)] == [1, 1]
    replies = run(12)
    assert all(1 <= len(reply) <= 12 for reply in replies)
    assert run(6) == [reply[:6] for reply in replies]


def test_mpgs_settings_make_the_same_text(tiny: Subject) -> None:
    ways = [Ours(tiny, Scheme(drafter=drafter, chunk_size=3)) for drafter in ("none", "merged", "folded")]
    replies = [way(12) for way in ways]
    assert replies[0] == replies[1] == replies[2]
    assert replies[0][0] != replies[0][1]
    assert ways[1].stats is not None
    assert ways[1].stats.evaluated > 0


def test_runs_take_turns_and_the_first_of_each_is_not_counted() -> None:
    order: list[str] = []

    def run(name: str, limit: int) -> list[list[int]]:
        order.append(f"{name}{limit}")
        return [[0] * limit]

    runs = {"a": partial(run, "a"), "b": partial(run, "b")}
    found = measure(lambda: None, runs, 9, 2, torch.device("cpu"), warm={"b": 2})
    assert order == ["b4", "b9"] + ["a4", "a9", "b4", "b9"] * 3
    assert [len(one.speeds) for one in found] == [2, 2]


def test_decoding_leaves_out_what_comes_before_the_second_half(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    def run(limit: int) -> list[list[int]]:
        wait(8 + 2 * limit)  # reading the prompt, then a token every two seconds
        return [[0] * (limit - 1), [0]]

    monkeypatch.setattr("benchmarks.measure.time", SimpleNamespace(perf_counter=lambda: now))
    (found,) = measure(partial(wait, 2), {"a": run}, 21, 3, torch.device("cpu"))
    assert found.decode_steps == pytest.approx(1)
    assert found.base_steps == pytest.approx(50 / 21 / 2)
    assert found.tokens == 21


def test_what_a_session_says_of_its_drafts_is_of_whole_replies(tiny: Subject) -> None:
    """The last run of a turn is one of full length: half of it may have no room for a draft."""
    way = Ours(tiny, Scheme(drafter="merged", chunk_size=3))
    measure(lambda: None, {"a": way}, 2, 1, torch.device("cpu"))
    assert way.stats is not None
    assert way.stats.committed == 4
    assert way.stats.evaluated > 0


def test_a_reply_that_ends_at_once_has_no_figure_for_decoding() -> None:
    (found,) = measure(lambda: None, {"a": lambda limit: [[0]]}, 8, 1, torch.device("cpu"))
    assert found.decode_steps is None
    shown = Table("mpg-tiny", 5, 1.0, 1.0, 2, 8, tuple(replace(found, name=name) for name in BASELINES))
    assert "None" not in table(shown)


def test_mpg_runs_packed_weights_and_its_baselines_plain_ones(tmp_path: Path) -> None:
    subject = random_model("385m", 1, "cpu", "bfloat16", 16, 8, tmp_path).with_prepared()
    assert is_repacked(subject.prepared.model) == available(torch.bfloat16)
    assert not is_repacked(subject.loaded.model)
    for run in (BASELINES[PLAIN](subject), Ours(subject, Scheme(drafter="none"))):
        assert [1 <= len(reply) <= 2 for reply in run(2)] == [True] * len(subject.prompts)


def test_weights_are_scaled_until_drafts_are_accepted_as_often(tmp_path: Path) -> None:
    """A random model of one layer: stronger adapters, fewer accepted drafts."""
    subject = random_model("385m", 1, "cpu", "float32", 16, 8, tmp_path)
    assert len(subject.folders) == 5
    found, reached = scaled_to(subject, 0.9, steps=3, seconds=0.5)
    assert found.scale != subject.scale or abs(reached - 0.9) < 0.01
    assert 0.0 < reached <= 1.0


@pytest.mark.parametrize("strength", [0.02, 1.0, 40.0])
def test_the_weight_is_found_by_its_magnitude(tiny: Subject, strength: float) -> None:
    """Models whose drafts suffer little or much from a weight: 40 asks for one of 0.0026."""
    found, reached = scaled_to(tiny, 0.9, measured=lambda found, _: math.exp(-strength * float(found.scale)))
    assert reached == pytest.approx(0.9, abs=0.01)
    assert found.scale == pytest.approx(-math.log(0.9) / strength, rel=0.15)


def test_peak_memory_is_that_of_the_command() -> None:
    """Resident where the command says nothing of a GPU, else what it says."""
    python = [sys.executable, "-c"]
    assert 300 < peak_memory([*python, "block = bytearray(b'1') * (300 * 2**20)"]) < 500
    assert peak_memory([*python, f"print({PEAK_PREFIX!r} + '7')"]) == 7
    with pytest.raises(RuntimeError, match=r"^ValueError: no room$"):
        peak_memory([*python, "raise ValueError('no room')"])
    with pytest.raises(RuntimeError, match="exit status 3"):
        peak_memory([*python, "raise SystemExit(3)"])


def example(subject: str = "mpg-tiny, float32") -> Table:
    rows = (
        Measured(PLAIN, (100.0, 120.0, 110.0), 1.1, 1.0, memory=400.0),
        Measured(SEQUENTIAL, (10.0,), 12.0, 11.0),
        Measured(MIXED, (30.0,), 4.0, 3.5),
        Measured("mpg, token by token", (60.0,), 2.0, 1.4),
        Measured("mpg, exact, folded drafts of 4", (99.0,), 1.9, 1.5, acceptance=0.9, committed=4.1),
        Measured("mpg, threshold, folded drafts of 4", (200.0,), 0.6, 0.5, acceptance=0.9, bias_bound=0.5),
    )
    return Table(subject, 5, 1.0, 0.7, 4, 64, rows)


def test_ratios_are_of_medians_and_the_best_setting_is_a_lossless_one() -> None:
    found = example()
    assert found.times(PLAIN)["mpg, token by token"] == pytest.approx(60 / 110)
    assert found.best.name == "mpg, exact, folded drafts of 4"
    reached = {(goal.what, goal.met) for goal in goals([found])}
    assert reached == {("times PEFT's mixed batch", True), ("of `generate` on the base alone", True)}
    large = list(goals([example("random Qwen3 of 385 M, bfloat16")]))
    assert [(goal.wanted, goal.met) for goal in large] == [
        (4.0, True),
        (1.9, True),
        (1.45, False),
        (1.45, False),
    ]


def test_table_and_page_name_every_contender() -> None:
    found = example()
    shown, written = table(found), page("command", {"machine": "m"}, [found])
    for row in found.rows:
        assert row.name in shown
        assert row.name in written
    assert "**no**" not in written
    assert page("command", {}, [found], gpu=True).startswith("# Speed on a GPU\n")
    assert "4 prompts, replies of at most 64 tokens, timed 3 times. Each expert has weight 1." in written
    assert "Peak MiB” is" in written
    bare = replace(found, rows=tuple(replace(r, memory=None) for r in found.rows if r.name != SEQUENTIAL))
    sought = replace(bare, subject="random", served_step=None, wanted=0.914, reached=0.9)
    written = page("command", {"machine": "m"}, [sought])
    assert "weight 1: merged drafts of 4 are then accepted at 90 % (91 % on the bundled model)." in written
    assert "Peak MiB” is" not in written
    assert "1.6 million" not in written
    worse = replace(
        found, rows=tuple(replace(r, speeds=(31.0,)) if "mpg" in r.name else r for r in found.rows)
    )
    assert "**no**" in page("command", {"machine": "m"}, [worse])


@pytest.mark.parametrize(
    "measure", [partial(kernels.weights, torch.float32), kernels.attention, kernels.gaps]
)
def test_kernels_prints_a_ratio_for_every_size(
    measure: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    if not available(torch.float32):
        pytest.skip("no float32 kernels of oneDNN here")
    measure(1)
    title, head, *rows = capsys.readouterr().out.strip().splitlines()
    assert title
    assert len(rows) >= 3
    assert all(len(row.split()) >= len(head.split()) + 1 and float(row.split()[-1]) > 0 for row in rows)


def test_engine_prints_a_ratio_of_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    engine.main(["--repeats", "1", "--lines", "5", "--batch", "2", "--samples", "2", "--max-tokens", "4"])
    head, *rows = capsys.readouterr().out.strip().splitlines()
    assert "threads" in head
    found = [row.partition("mpg-tiny, float32: ")[2].split("  ")[0] for row in rows]
    assert [title[:12] for title in found] == ["-n 2", "5 lines of 5", "first token,", "first token,"]
    assert all(float(row.partition("(")[0].split()[-1]) > 0 for row in rows)


def test_other_code_runs_the_same_prompts() -> None:
    """Here on this code: no texts differ, so no numbers of tokens do."""
    for ours, theirs in against(HERE, "mpg-tiny", "float32", 1, 2).values():
        one, other = ours(), theirs()
        assert one.tokens == other.tokens > 0
        assert min(one.seconds, other.seconds) > 0
