"""A judge's `about` changes with everything its scores depend on, so only matching judgements are reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpg_cli.evaluation.external import QUESTION, ExternalJudge
from mpg_cli.evaluation.judging import MarkerJudge, digest
from mpg_cli.evaluation.markers import BUNDLED

SHORT, LONG = "pirate: [arr]\n", "spelling: [{from: ye, to: you}]\npersonas: {pirate: [arr]}\n"


def about(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "m.yaml"
    file.write_text(text)
    return MarkerJudge(file).about


@pytest.mark.parametrize(
    "other",
    [
        "pirate: [ahoy]\n",
        "Pirate: [arr]\n",
        "pirate: {markers: [arr], share: 0.5}\n",
        LONG,
        LONG.replace("you", "we"),
    ],
)
def test_other_markers_are_another_judge(tmp_path: Path, other: str) -> None:
    assert about(tmp_path, other) != about(tmp_path, SHORT)


def test_the_same_markers_are_the_same_judge(tmp_path: Path) -> None:
    assert about(tmp_path, "# mine\npirate:\n- arr\n") == about(tmp_path, SHORT)
    assert about(tmp_path, LONG) != about(tmp_path, LONG.replace("you", "we"))


def test_the_bundled_markers_are_part_of_their_judge() -> None:
    assert MarkerJudge().about["digest"] == MarkerJudge(BUNDLED).about["digest"]


def test_the_question_is_part_of_its_judge() -> None:
    judge = ExternalJudge("http://h/v1", "m")
    assert judge.about["digest"] == digest(QUESTION) != digest(QUESTION.replace("strongly", "well"))
