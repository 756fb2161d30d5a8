"""A judge's `about` changes with everything its scores depend on, so only matching judgements are reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpg_cli.evaluation import external, judging
from mpg_cli.evaluation.external import ExternalJudge
from mpg_cli.evaluation.judging import MarkerJudge
from mpg_cli.evaluation.markers import read_markers

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


def test_the_bundled_markers_are_part_of_their_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = MarkerJudge().about
    assert MarkerJudge().about == before
    (tmp_path / "m.yaml").write_text(SHORT)
    monkeypatch.setattr(judging, "bundled", lambda: read_markers(tmp_path / "m.yaml"))
    assert MarkerJudge().about != before


def test_another_question_is_another_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ExternalJudge("http://h/v1", "m").about
    monkeypatch.setattr(external, "QUESTION", external.QUESTION.replace("strongly", "well"))
    assert ExternalJudge("http://h/v1", "m").about != before
