"""The marker judge: bundled markers, marker files and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judging import Exhibit, Judgement, MarkerJudge
from mpg_cli.evaluation.markers import bundled, read_markers
from mpg_cli.personas.registry import Registry, library_dir


def test_every_persona_of_the_library_that_is_no_composite_has_markers() -> None:
    library = library_dir()
    assert library is not None
    names = {own.name for own in Registry.load([library]).personas if own.parts is None}
    assert names
    assert names == set(bundled().marks)


def test_a_pole_needs_more_sentences_than_its_opposite_and_a_character_half_of_them() -> None:
    marks = bundled()
    assert marks.shows("Stay alone. Enjoy the silence. Call a friend.", "I")
    assert not marks.shows("Stay alone. Invite a crowd.", "I")
    assert marks.shows("Arr, go. Then rest.", "pirate")
    assert not marks.shows("Arr, go. Then rest. Then sleep.", "Pirate")
    assert not marks.shows("", "pirate")
    assert marks.shows("Keep it for yerself.", "I")  # the dialect's word for a marker of I


def test_a_file_of_lists_and_of_conditions(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("Rosa: ['roses?', lily]\nStone:\n  markers: [rock]\n  share: 1\n")
    marks = read_markers(file)
    assert marks.shows("One. Two. A rose!", "rosa")
    assert not marks.shows("The prose.", "Rosa")
    assert marks.shows("A rock. A Rock!", "Stone")
    assert not marks.shows("A rock. A hill.", "Stone")


@pytest.mark.parametrize(
    "text, message",
    [
        ("A: word", "m.yaml:1: A: must be a list of markers"),
        ("A: ['(']", "m.yaml:1: A[0]: is not a valid regular expression"),
        ("A: ['x*']", "matches the empty text"),
        ("A: [3]", "must be a regular expression"),
        ("A: []", "must be a list of regular expressions"),
        ("A: {markers: [x], share: 2}", "must be a number from 0 to 1"),
        ("A: {markers: [x], against: B}", "no markers are given for B"),
        ("A: {markers: [x], every: 1}", "unknown key"),
        ("personas: {A: [x]}\nspeling: []", "unknown key"),
    ],
)
def test_wrong_files_name_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_markers(file)
    assert message in raised.value.message


def test_the_judge_scores_1_or_0_and_names_unknown_personas() -> None:
    judge, kept = MarkerJudge(), list[Judgement]()
    shown = [Exhibit("a", "?", "Arr!", "pirate"), Exhibit("a", "?", "Arr!", "zen")]
    assert judge.judge(shown, kept.append, lambda share: None) == [1.0, 0.0]
    assert [own.score for own in kept] == [1.0, 0.0]
    with pytest.raises(UsageError, match="no markers of stranger") as raised:
        judge.check(["pirate", "stranger"])
    assert "--judge-url" in (raised.value.hint or "")
