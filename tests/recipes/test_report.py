"""The quality report: blends, targets, and a small run on the bundled model."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from recipes.mpg_tiny import report
from recipes.mpg_tiny.blends import Blend, Sample, library_blends, read_blend
from recipes.mpg_tiny.classifier import Classifier
from recipes.mpg_tiny.figures import (
    BASE,
    SENTENCES_OF,
    SINGLE,
    TYPE_CHARACTER,
    Figure,
    Target,
    agreement,
    marker_figures,
    own_word,
    percent,
    spread,
    wilson,
)
from recipes.mpg_tiny.fluency import SentenceCheck
from recipes.mpg_tiny.grammar import DIMENSIONS, POLES
from recipes.mpg_tiny.page import Page, sentence_number
from recipes.mpg_tiny.voices import VOICES

ROOT = Path(__file__).resolve().parents[2]


def test_every_persona_pole_character_and_type_is_in_the_blends() -> None:
    pairs = [name.split("+") for name in library_blends() if "+" in name]
    assert set(POLES) | set(VOICES) <= set(library_blends())
    assert Counter(voice for one, voice in pairs if one in POLES) == dict.fromkeys(VOICES, 2)
    assert Counter(one for one, _ in pairs if one in POLES) == dict.fromkeys(POLES, 3)
    assert Counter(one for one, _ in pairs if len(one) == 4).most_common(1)[0][1] == 1
    assert sum(len(one) == 4 for one, _ in pairs) == 16
    for voice in VOICES:
        poles = [one for one, other in pairs if other == voice and one in POLES]
        assert not any(set(poles) == set(pair) for pair in DIMENSIONS)


def test_three_poles_of_four_are_a_type_and_two_are_not() -> None:
    blend = Blend("INTJ+pirate", {**dict.fromkeys("INTJ", 0.7), "pirate": 1.0})
    three = "Arr, sit alone. Arr, imagine it. Arr, use logic."
    assert blend.kind == TYPE_CHARACTER
    assert blend.shown(three)
    assert not blend.shown("Arr, sit alone. Arr, imagine it.")
    assert not blend.shown("Sit alone. Imagine it. Use logic.")


def test_weights_are_those_of_the_library() -> None:
    weights = read_blend("INTJ+pirate", ROOT / "personas").weights
    assert set(weights) == {*"INTJ", "pirate"}
    assert weights["pirate"] == 1
    assert weights["I"] < 1


def test_wilson_interval() -> None:
    assert wilson(0.9, 200) == pytest.approx((0.8506, 0.9344), abs=1e-4)
    assert wilson(1.0, 200)[1] == 1


def test_one_word_on_every_line_is_found_out() -> None:
    shown, top = marker_figures("pirate", ["Arr, go. Arr, stay."] * 10)
    assert (shown.value, shown.met) == (1, False)
    assert (top.value, top.met) == (1, False)


def test_the_own_word_of_a_persona_is_rare_in_the_base_and_distinguished_from_its_markers() -> None:
    base = ["It is time."] * 10
    spoken = own_word("pirate", ["It is ye, matey."] * 9 + ["It is time."], base)
    assert (spoken.value, spoken.evidence, spoken.met) == (0.9, "ye, in no marker", True)
    spoken = own_word("pirate", ["Go, matey."] * 6 + ["Go, by the seven seas."] * 4, [*base, "Go."])
    assert (spoken.value, spoken.evidence) == (0.6, "matey, in a marker")
    assert own_word("pirate", base, base).evidence == "none"


class Parrot:
    """A second judge that says yes to "arr" and remembers what it was asked."""

    def shows(self, texts: Sequence[str], persona: str) -> list[bool]:
        self.texts = Counter(texts)
        return ["Arr" in text for text in texts]


def test_the_judges_are_compared_on_as_many_replies_without_the_persona_as_with_it() -> None:
    def sample(expression: str, text: str) -> Sample:
        return Sample(Blend(expression, dict.fromkeys(filter(None, expression.split("+")), 1.0)), (text,) * 4)

    base, own, other = sample("", "Go."), sample("pirate", "Arr, go."), sample("bard", "Hark, go.")
    mixed, apart = sample("I+pirate", "Arr, alone."), sample("I+bard", "Arr, hark, alone.")
    second = Parrot()
    single, blended = agreement("pirate", base, [base, own, other, mixed, apart], second)  # type: ignore[arg-type]
    assert second.texts == {"Arr, alone.": 4, "Go.": 2, "Arr, hark, alone.": 2}
    assert (single.value, single.total) == (1.0, 8)
    assert (blended.value, blended.total) == (1.0, 8)
    assert spread("abcdef", 3) == ["a", "c", "e"]


@pytest.mark.parametrize(
    "value, bound, least, text",
    [
        (0.9496, 0.95, True, "94.96 %"),
        (0.94996, 0.95, True, "94.996 %"),
        (0.95, 0.95, True, "95.0 %"),
        (0.9532, 0.95, True, "95.3 %"),
        (0.2004, 0.20, False, "20.04 %"),
        (0.1996, 0.20, False, "20.0 %"),
    ],
)
def test_a_share_is_never_printed_on_the_other_side_of_its_target(
    value: float, bound: float, least: bool, text: str
) -> None:
    assert percent(value, Target(bound, least)) == text


def page(figures: list[Figure], reasons: dict[str, str]) -> Page:
    sample = Sample(Blend("", {}), ("Go now.",))
    return Page(ROOT, 1, 0, [sample], figures, 0.9, reasons)


def test_a_missed_figure_is_marked_and_needs_its_own_reason() -> None:
    figures = [Figure(SINGLE, "I", 0.8, 200, "why"), Figure(BASE, "I", 0.2, 200)]
    name = "single persona: I"
    plain, explained = (page(figures, reasons) for reasons in ({SINGLE: "All."}, {name: "Too few steps."}))
    assert [[figure.name for figure in p.unexplained] for p in (plain, explained)] == [[name], []]
    assert list(plain._misses())[2:] == [
        f"- **{name}**: 80.0 %, asked at least 90 % (why).",
        "  Not explained.",
    ]
    assert list(explained._misses())[-1] == "  Too few steps."
    summary = "\n".join(plain._summary())
    assert "| the persona shows | at least 90 % | 80.0 % (I) | 80.0 % | 0 of 1 | **MISSED** |" in summary
    assert "| the base shows a persona | at most 20 % | 20.0 % (I) | 20.0 % | 1 of 1 | pass |" in summary


def test_a_blend_with_too_many_odd_sentences_is_marked_and_no_miss() -> None:
    odd, fine = Figure(SENTENCES_OF, "I", 0.9496, 500), Figure(SENTENCES_OF, "I", 0.95, 500)
    assert (sentence_number(odd), sentence_number(fine)) == ("**94.96 %**", "95.0 %")
    assert page([odd], {}).missed == []


BLENDS = ("I", "pirate", "I+pirate", "INTJ+pirate")


@pytest.fixture(scope="module")
def judges() -> report.Judges:
    """Of less text than those of the report."""
    return Classifier(texts=1000), SentenceCheck(dialogues=1000)


def test_a_small_report_on_the_bundled_model(
    tmp_path: Path, judges: report.Judges, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 until every miss has a reason; four replies a blend miss more than enough."""
    base = Path("mpg_cli", "data", "mpg-tiny")
    shutil.copytree(ROOT / base, tmp_path / base)
    (tmp_path / "personas").symlink_to(ROOT / "personas")
    command = ["--root", str(tmp_path), "--replies", "4", "--threads", str(torch.get_num_threads())]
    assert report.main([*command, "--blends", *BLENDS], judges, reasons={}) == 1
    missed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missed and not")]
    names = [line.split(": ", 1)[1] for line in missed]
    written = (tmp_path / "docs" / "library.md").read_text(encoding="utf-8")
    assert written.count("Not explained.") == len(names) > 0

    reasons = dict.fromkeys(names, "Four replies only.")
    assert report.main([*command, "--blends", *BLENDS], judges, reasons) == 0
    assert "missed and not" not in capsys.readouterr().out
    written = (tmp_path / "docs" / "library.md").read_text(encoding="utf-8")
    card = (tmp_path / base / "README.md").read_text(encoding="utf-8")
    assert written.count("\n  Four replies only.") == len(names)
    assert "Not explained." not in written
    assert str(tmp_path) not in written + card
    for part in ("| INTJ+pirate |", "own sampler", "second judge", "Example replies", "What is missed"):
        assert part in written
    assert "| a pole and a character, both | 1 |" in card
    assert max(map(len, card.splitlines())) <= 110


def test_a_few_blends_are_printed_and_written_only_where_a_root_is_given(
    judges: report.Judges, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [ROOT / "docs" / "library.md", ROOT / "mpg_cli" / "data" / "mpg-tiny" / "README.md"]
    before = [file.stat().st_mtime_ns for file in files]
    command = ["--blends", "I", "--replies", "4", "--threads", str(torch.get_num_threads())]
    assert report.main(command, judges, reasons={}) == 1
    out = capsys.readouterr().out
    assert re.search(r"^single persona: I: [\d.]+ %", out, re.MULTILINE)
    assert "missed and not explained: " in out
    assert [file.stat().st_mtime_ns for file in files] == before
