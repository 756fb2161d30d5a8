"""The log of an evaluation: records are read back, other runs are refused, torn lines are dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judging import Judgement
from mpg_cli.evaluation.log import check_output, open_log
from mpg_cli.evaluation.prompts import Reply

CONFIG = {"model": "m", "seed": 0, "persona": {"pirate": 1.0}}
JUDGE = {"kind": "markers", "file": None}
ONE, TWO = (Reply(name, f"Text {name}\nof two lines – ü.", (1, 2), "stop", 0.25) for name in "ab")


def test_replies_and_judgements_come_back_by_method(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with open_log(file, CONFIG) as log:
        log.reply("exact", ONE, "?")
        log.reply("base", TWO, "?")
        log.judgement("exact", JUDGE, Judgement("a", "pirate", 0.7, "7"))
    with open_log(file, CONFIG) as log:
        assert log.resumed == 2
        assert log.replies("exact") == {"a": ONE}
        assert log.replies("merged") == {}
        assert log.judgements("exact", JUDGE) == {("a", "pirate"): 0.7}
        assert log.judgements("exact", {"kind": "external"}) == {}


def test_a_torn_last_line_is_dropped_and_the_run_resumes(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with open_log(file, CONFIG) as log:
        log.reply("exact", ONE, "?")
    with file.open("a") as stream:
        stream.write('{"type": "reply", "meth')
    with open_log(file, CONFIG) as log:
        assert list(log.replies("exact")) == ["a"]
        log.reply("exact", TWO, "?")
    with open_log(file, CONFIG) as log:
        assert list(log.replies("exact")) == ["a", "b"]


def test_another_run_is_distinguished(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with open_log(file, CONFIG):
        pass
    with pytest.raises(UsageError, match="different seed"), open_log(file, {**CONFIG, "seed": 1}):
        pass
    (tmp_path / "notes.txt").write_text("dear diary\n")
    with (
        pytest.raises(UsageError, match=r"notes\.txt exists, but its first line has no configuration"),
        open_log(tmp_path / "notes.txt", CONFIG),
    ):
        pass
    assert (tmp_path / "notes.txt").read_text() == "dear diary\n"


@pytest.mark.parametrize(
    "raw", [b"dear diary", b'{"type": "run", "distance": 5}', b"\n", b"\xff\xfe", "für später".encode()]
)
def test_a_foreign_file_is_not_changed(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(raw)
    with pytest.raises(UsageError, match=r"notes\.txt"), open_log(file, CONFIG):
        pass
    assert file.read_bytes() == raw


@pytest.mark.parametrize("length", [0, 1, 15, 60])
def test_a_run_that_was_killed_in_its_first_line_begins_again(tmp_path: Path, length: int) -> None:
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    with open_log(whole, CONFIG):
        pass
    torn.write_bytes(whole.read_bytes()[:length])
    with open_log(torn, CONFIG) as log:
        assert log.resumed == 0
    assert torn.read_bytes() == whole.read_bytes()


def test_a_run_killed_in_the_middle_of_a_character_resumes(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with open_log(file, CONFIG) as log:
        log.reply("exact", ONE, "?")
    before = file.read_bytes()
    file.write_bytes(before + '{"type": "reply", "text": "ü'.encode()[:-1])
    with open_log(file, CONFIG) as log:
        assert list(log.replies("exact")) == ["a"]
    assert file.read_bytes() == before


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    with open_log(None, CONFIG) as log:
        log.reply("exact", ONE, "?")
    assert log.resumed == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), open_log(tmp_path / "no" / "x", CONFIG):
        pass


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "x", tmp_path, Path("~nobody9/x")):
        with pytest.raises(UsageError, match="cannot be written"):
            check_output(place)
    check_output(tmp_path / "new")
    (tmp_path / "old").write_text("kept")
    check_output(tmp_path / "old")
    link = tmp_path / "link"
    link.symlink_to("new")
    check_output(link)
    assert link.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "old"]
    assert (tmp_path / "old").read_text() == "kept"
