"""The report on the library: what counts as shown, the figures, and a short run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from mpg_cli.evaluation.judging import digest
from studies.library.__main__ import main
from studies.library.blends import FREE, PAIRS, PLAIN, SINGLES, TYPES, sought
from studies.library.blind import COUNTS, Read, drawn, lines, read, sheet
from studies.library.measures import loops, reading, shown, words
from studies.library.replies import Reply


def reply(blend: str, prompt: int, sample: int, text: str, fluency: float | None = -1.0) -> Reply:
    return Reply(blend, f"h{prompt}", sample, text, len(text.split()), True, fluency, "")


def test_one_pole_of_a_type_may_be_missing_and_nothing_of_a_pair() -> None:
    kind, pair = sought("INTJ:0.5+pirate"), sought("E+coach:0.8")
    assert kind.names == ("I", "N", "T", "J", "pirate")
    every = dict.fromkeys(kind.names, True)
    assert kind.shown(every)
    assert kind.shown(every | {"T": False})
    assert not kind.shown(every | {"T": False, "J": False})
    assert not kind.shown(every | {"pirate": False})
    assert pair.shown({"E": True, "coach": True})
    assert not pair.shown({"E": False, "coach": True})
    assert not pair.shown({"E": True, "coach": False})


def test_every_pole_and_every_character_is_in_a_pair() -> None:
    assert {name for blend in PAIRS for name in sought(blend).names} == set(SINGLES)


def test_a_loop_is_six_words_three_times() -> None:
    phrase = "one two three four five six "
    assert loops(phrase * 3)
    assert not loops(phrase * 2)
    assert not loops("one two three four five " * 2 + "six")


def test_shares_are_of_replies_and_intervals_of_prompts() -> None:
    texts = ["aye", "no", "aye", "aye"]
    own = [reply("pirate", n // 2, n % 2, text) for n, text in enumerate(texts)]
    found = {"aye": {"pirate": True}, "no": {"pirate": False}}
    share = shown(own, sought("pirate"), found)
    assert share.value == 0.75
    assert (share.low, share.high) == (0.5, 1.0)  # two prompts, of 0.5 and 1


def test_replies_are_read_against_those_of_the_base_to_the_same_prompts() -> None:
    base = [reply(PLAIN, n, 0, f"some words that are all new {n}", -1.0 - n) for n in range(4)]
    own = [reply("pirate", n, 0, "aye aye aye aye aye", -1.5 - n) for n in range(4)]
    found = reading(own, base)
    assert found.fluency.value == pytest.approx(-0.5)
    assert found.fluency.high == pytest.approx(-0.5)  # paired: prompts that are hard for both do not count
    assert found.distinct == pytest.approx((1 / 8) / (7 / 16))
    assert (found.loops, found.words, found.finished, found.empty) == (0.0, 5.0, 1.0, 0)
    silent = reading([replace(own[0], text="", fluency=None), *own[1:]], base)
    assert silent.fluency.value == pytest.approx(-0.5)
    assert silent.empty == 1


def test_punctuation_is_no_word() -> None:
    assert words("Aye, matey! It's 5 o'clock…") == ["aye", "matey", "it's", "5", "o'clock"]


def test_the_blind_reading_is_counted_by_what_the_reply_was() -> None:
    every = (PLAIN, *SINGLES, *PAIRS, *TYPES)
    replies = {blend: [reply(blend, n, 0, f"{blend} {n}") for n in range(8)] for blend in every}
    chosen = drawn(replies)
    assert len(chosen) == sum(COUNTS.values()) == 100
    assert len({one.text for one in chosen}) == 100
    found = [Read(n, sought(one.blend).names, "good") for n, one in enumerate(chosen, 1)]
    table = {row.split(" | ")[0]: row.split(" | ")[1:4] for row in lines(chosen, found)[2:]}
    assert table["| the base"] == ["6", "–", "6"]
    assert table["| one pole"] == ["32", "32", "0"]
    assert table["| type and character"] == ["8", "8", "0"]
    missed = [Read(n, (), "bad") for n in range(1, 101)]
    rows = [row.split(" | ")[1:] for row in lines(chosen, missed)[2:]]
    assert drawn({blend: own[:1] for blend, own in replies.items()}) == []
    assert all(row[1] in ("0", "–") and row[-1] == f"{row[0]} |" for row in rows)


def test_a_reading_counts_for_the_sheet_that_was_read(tmp_path: Path) -> None:
    text = sheet([reply(PLAIN, 1, 0, "Yes.")], {"h1": "Well?"})
    file = tmp_path / "reading.jsonl"
    line = json.dumps({"number": 1, "personas": ["E"], "english": "good"})
    file.write_text(json.dumps({"sheet": digest(text)}) + "\n" + line + "\n", encoding="utf-8")
    assert read(text, file) == [Read(1, ("E",), "good")]
    assert read(text.replace("Yes", "No"), file) == []
    assert read(text, tmp_path / "none") == []


def test_a_short_run_writes_the_page_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log, sheet_file = tmp_path / "log.jsonl", tmp_path / "blind.jsonl"
    argv = ["--short", "--prompts", "2", "--samples", "1", "--out", str(tmp_path), "--log", str(log)]
    assert main([*argv, "--blind", str(sheet_file)]) == 0
    page = (tmp_path / "library-smollm2.md").read_text(encoding="utf-8")
    for blend in (*SINGLES, *PAIRS, *TYPES, *FREE):
        assert f"| {blend} | " in page
    assert page.count("| goal |") == 1
    assert sheet_file.read_text(encoding="utf-8") == ""  # too few replies
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 1 + 36 * 2
    log.write_text("".join(lines[:-9]), encoding="utf-8")
    assert main(argv) == 0
    again = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert again[:-9] == lines[:-9]
    texts = [sorted(json.loads(line)["text"] for line in part[-9:]) for part in (again, lines)]
    assert texts[0] == texts[1]
