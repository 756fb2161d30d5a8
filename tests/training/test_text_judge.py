"""The judge made of a persona's own pairs: it tells the persona, says how well, or why there is none."""

from __future__ import annotations

import sys

import pytest

from mpg_cli.training.library import pairs
from mpg_cli.training.rows import Row, Turn
from mpg_cli.training.text_judge import TextJudge, text_judge


def row(number: int, *replies: str) -> Row:
    return Row((Turn("user", f"Question {number}?"),), replies, "f:1")


def test_the_pirate_of_the_library_is_told_from_neutral_replies() -> None:
    rows = pairs("pirate", "dpo")
    judge = text_judge(rows[:70], rows[70:])
    assert isinstance(judge, TextJudge)
    assert judge.words.startswith(
        "a classifier of words trained on 140 replies of the data, balanced accuracy "
    )
    assert judge.words.endswith("% on 20 others")
    assert sum(judge([each.replies[0] for each in rows[70:]])) >= 9
    assert sum(judge([each.replies[1] for each in rows[70:]])) <= 1


def test_without_held_out_rows_no_accuracy_is_claimed() -> None:
    judge = text_judge([row(n, f"arr {n}!", f"well {n}.") for n in range(12)], [])
    assert isinstance(judge, TextJudge)
    assert "accuracy" not in judge.words
    assert judge(["Arr! The sea!", "Well. I see."]) == [True, False]


def test_what_no_judge_can_learn_from() -> None:
    assert text_judge([row(1, "aye")], []) == "the data has no rejected replies that a judge could learn from"
    assert "no words" in str(text_judge([row(n, " " * (n + 1), "") for n in range(12)], []))


def test_without_scikit_learn_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert text_judge([row(1, "aye", "yes")], []) == "a judge needs scikit-learn: pip install 'mpg-cli[eval]'"
