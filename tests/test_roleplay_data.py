"""The role-play lines of the study: complete, of the right length, each a different person in other words."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.phrases import phrases, words

FILE = Path(__file__).parents[1] / "studies" / "effect" / "roleplay.jsonl"
LINES: list[dict[str, str]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
LENGTHS = {  # words
    "profile": range(40, 71),
    "personality": range(25, 51),
    "question": range(3, 31),
    "reference_answer": range(40, 81),
}
MOST = 3  # answers may share a four-word phrase, or their first word


def test_there_are_sixty_lines_in_order() -> None:
    assert [line["id"] for line in LINES] == [f"r{number:03}" for number in range(1, 61)]
    for line in LINES:
        assert list(line) == ["id", *LENGTHS], line["id"]


@pytest.mark.parametrize("key", LENGTHS)
def test_every_text_has_the_right_length_and_comes_once(key: str) -> None:
    for line in LINES:
        text = line[key]
        assert len(text.split()) in LENGTHS[key], line["id"]
        assert text == " ".join(text.split()), line["id"]  # one paragraph
    assert len({" ".join(words(line[key])) for line in LINES}) == len(LINES)


def test_descriptions_speak_to_the_character() -> None:
    assert all(line["profile"].startswith("You are ") for line in LINES)
    assert all(line["personality"].startswith("You ") for line in LINES)
    assert all(line["question"][-1] in "?!." for line in LINES)


def test_no_two_profiles_begin_alike() -> None:
    starts = Counter(tuple(words(line["profile"])[2:5]) for line in LINES)
    assert max(starts.values()) == 1, starts.most_common(1)


def test_answers_have_no_stock_phrases() -> None:
    answers = [line["reference_answer"] for line in LINES]
    counts = Counter(phrase for answer in answers for phrase in phrases(answer, 4))
    phrase, count = counts.most_common(1)[0]
    assert count <= MOST, " ".join(phrase)
    first, count = Counter(words(answer)[0] for answer in answers).most_common(1)[0]
    assert count <= MOST, first


def test_answers_do_not_quote_their_descriptions() -> None:
    for line in LINES:
        own = phrases(line["reference_answer"], 4)
        assert not own & (phrases(line["profile"], 4) | phrases(line["personality"], 4)), line["id"]
