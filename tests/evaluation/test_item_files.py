"""Files of questionnaires: our own and those that others published, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.item_files import read_items
from mpg_cli.evaluation.questionnaire import Item, item_prompt


def _file(folder: Path, text: str) -> Path:
    file = folder / "items.json"
    file.write_text(text, encoding="utf-8")
    return file


STATEMENT = '{"statement": "I like parties.", "dimension": "EI", "pole": "%s"}'


def test_statements_score_by_their_pole(tmp_path: Path) -> None:
    poles = "EEII"
    items = read_items(_file(tmp_path, f"[\n{', '.join(STATEMENT % pole for pole in poles)}]"))
    assert [item.options[-1].value for item in items] == [1, 1, -1, -1]
    assert [item.options[0].value for item in items] == [-1, -1, 1, 1]
    assert all(item.statement for item in items)


def test_a_question_may_be_keyed_either_way(tmp_path: Path) -> None:
    text = '{"question": "Q?", "A": {"text": "a", "pole": "I"}, "B": {"text": "b", "pole": "E"}}'
    items = read_items(_file(tmp_path, f'{{"items": [{", ".join([text] * 4)}]}}'))
    assert [option.value for option in items[0].options] == [-1, 1]


GOOD = '{"question": "Q?", "A": {"text": "a", "pole": "E"}, "B": {"text": "b", "pole": "I"}}'


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "items.json:1: items: must be a list of items"),
        ('{"a": 1}', "items.json:1: a: must be a list, or a mapping with `items`"),
        ("[", "items.json:"),
        ("[1]", "items.json:1: items[0]: must be an item, not a number"),
        (f'[{GOOD},\n{GOOD[:-1]}, "C": 1}}]', "items.json:2: items[1].C: unknown key"),
        ('[{"question": "Q?"}]', "items[0]: A is missing; a question needs question, A, B"),
        ('[{"statement": "S."}]', "items[0]: dimension is missing"),
        (f"[{GOOD.replace('Q?', ' ')}]", "items[0].question: must be text"),
        (f"[{GOOD.replace('pole', 'stands')}]", "items[0].A: must be {text, pole}"),
        (f"[{GOOD.replace('I', 'X')}]", "items[0].B.pole: must be one of E, I, S, N, T, F, J, P, not X"),
        (
            f"[{GOOD.replace('I', 'T')}]",
            "A and B stand for E and T, they must be the two poles of a dimension",
        ),
        (
            f'[{GOOD[:-1]}, "dimension": "SN"}}]',
            "items[0].dimension: must be EI, the dimension of the poles of A and B",
        ),
        (f"[{STATEMENT % 'T'}]", "items[0].pole: T is not a pole of EI"),
        (f"[{GOOD}]", "items.json: EI has 1 items, at least 4 are needed"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported_by_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_items(_file(tmp_path, text))
    assert message in caught.value.message


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path / "nowhere.json")
    (tmp_path / "bytes.json").write_bytes(b"[\n\xff]")
    with pytest.raises(UsageError, match=r"bytes\.json:2: not UTF-8"):
        read_items(tmp_path / "bytes.json")


PARTY = {
    "question": "At a party do you:\nA. Interact with many, including strangers\n"
    "B. Interact with a few, known to you",
    "A": "E",
    "B": "I",
}


def _read(folder: Path, data: Any, **how: Any) -> tuple[Item, ...]:
    return read_items(_file(folder, json.dumps(data, **how)))


def _numbered(entry: Any) -> dict[str, Any]:
    return dict.fromkeys("1234", entry)


def test_numbered_questions_have_their_options_inside(tmp_path: Path) -> None:
    item = _read(tmp_path, _numbered(PARTY))[0]
    assert (item.dimension, item.text) == ("EI", "At a party do you:")
    assert [(option.text, option.value) for option in item.options] == [
        ("Interact with many, including strangers", 1.0),
        ("Interact with a few, known to you", -1.0),
    ]
    assert not item.statement
    text = item_prompt(item, "text", swapped=True)
    assert text.prompt.split("\n") == [
        "At a party do you:",
        "- Interact with a few, known to you",
        "- Interact with many, including strangers",
        "Answer with one of these.",
    ]
    assert (text.opening, text.options) == ("", tuple(option.text for option in item.options))
    letter = item_prompt(item, "letter", swapped=True)
    assert "\nA: Interact with a few, known to you\nB: Interact with many" in letter.prompt
    assert letter.options == ("B", "A")


def test_numbered_questions_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    entries = {number: {**PARTY, "question": f"{number}\nA. a\nB. b"} for number in ("10", "9", "1", "2")}
    assert [item.text for item in _read(tmp_path, entries)] == ["10:", "9:", "1:", "2:"]


@pytest.mark.parametrize(
    "question, stem, texts",
    [
        ("Q?\nA.dance\nB.read", "Q?", ["dance", "read"]),
        ("Q?\n\nA: dance\nB: read\n", "Q?", ["dance", "read"]),
        ("Q?\n\tA) dance.\n\tB) read.", "Q?", ["dance", "read"]),
        ("Q?\n(A) dance\n(B)read", "Q?", ["dance", "read"]),
        ("Q?\r\nA. dance\r\nB. read", "Q?", ["dance", "read"]),
        ("Q?\\nA. dance\\nB. read", "Q?", ["dance", "read"]),  # escaped twice, as some files have it
        ("Q？\nA．dance\nB、read。", "Q？", ["dance", "read"]),
        ("Q…\nA. dance\n all night\nB. read", "Q:", ["dance all night", "read"]),
        ("Are you\nA. able to dance, or\nB. able to read?", "Are you:", ["able to dance", "able to read?"]),
        ("Would you rather:\nA. dance\nB. read", "Would you rather:", ["dance", "read"]),
        ("A. dance\nB. read", "Which is more like you?", ["dance", "read"]),
        ("Q? 🙂\nA. dance\nB. read", "Q? 🙂:", ["dance", "read"]),
    ],
)
def test_options_inside_a_question(tmp_path: Path, question: str, stem: str, texts: list[str]) -> None:
    item = _read(tmp_path, [{**PARTY, "question": question}] * 4)[0]
    assert (item.text, [option.text for option in item.options]) == (stem, texts)
    asked = item_prompt(item, "text", swapped=False)
    assert asked.prompt == f"{stem}\n- {texts[0]}\n- {texts[1]}\nAnswer with one of these."
    assert (asked.opening, asked.options) == ("", tuple(texts))


def test_options_beside_a_question(tmp_path: Path) -> None:
    entry = {"question": "You are usually:", "optionA": "Quiet.", "optionB": "Loud", "A": "I", "B": "E"}
    item = _read(tmp_path, _numbered(entry))[0]
    assert item.text == "You are usually:"
    assert [(option.text, option.value) for option in item.options] == [("Quiet", -1.0), ("Loud", 1.0)]


@pytest.mark.parametrize("how", [{"indent": "\t"}, {"separators": (",", ":")}, {"ensure_ascii": False}])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_may_be_written_in_any_way(tmp_path: Path, how: dict[str, Any], mark: str) -> None:
    file = _file(tmp_path, mark + json.dumps(_numbered({**PARTY, "question": "Ü 🙂\nA. a\nB. b"}), **how))
    assert [item.text for item in read_items(file)] == ["Ü 🙂:"] * 4


def test_what_is_no_dimension_of_ours_is_left_out_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    file = _file(tmp_path, json.dumps({**_numbered(PARTY), "75": {**PARTY, "A": "T", "B": "N"}}, indent=1))
    assert len(read_items(file, said.append)) == 4
    assert said == [f"{file}:22: 75: left out, as A and B stand for T and N, which are no dimension"]
    assertive = {"text": "I am calm.", "dimension": "A/T", "direction": "A"}
    file = _file(tmp_path, json.dumps([*[AGREE] * 4, assertive, assertive]))
    said.clear()
    assert len(read_items(file, said.append)) == 4
    assert said == [f"{file}:1: items[4]: left out, as AT is none of EI, SN, TF, JP; and 1 more items"]
    with pytest.raises(UsageError, match="no item is of a dimension EI, SN, TF, JP"):
        _read(tmp_path, [assertive] * 4)


AGREE = {"statement": "You regularly make new friends.", "dimension": "E/I", "pole": "E"}


@pytest.mark.parametrize(
    "key, first, second",
    [
        ("pole", "E", "I"),
        ("direction", "e", "i"),
        ("direction", 1, -1),
        ("direction", "+", "-"),
        ("direction", "positive", "Negative"),
        ("category", "E", "I"),
        ("scale", "+1", "-1"),
        ("reverse", False, True),
    ],
)
def test_a_statement_says_in_several_ways_which_pole_it_counts_for(
    tmp_path: Path, key: str, first: Any, second: Any
) -> None:
    plain = {"statement": "S.", "dimension": "EI"}
    items = _read(tmp_path, [{**plain, key: first}] * 2 + [{**plain, key: second}] * 2)
    assert [item.options[-1].value for item in items] == [1, 1, -1, -1]


@pytest.mark.parametrize(
    "dimension, expected", [("JP", 1), ("J/P", 1), ("j-p", 1), ("P/J", -1), ("PJ", -1), ("P_J", -1)]
)
def test_a_sign_means_the_letter_that_the_dimension_names_first(
    tmp_path: Path, dimension: str, expected: float
) -> None:
    item = _read(tmp_path, [{"text": "S.", "dimension": dimension, "direction": 1}] * 4)[0]
    assert (item.dimension, item.options[-1].value) == ("JP", expected)


def test_a_list_of_statements_as_roleplaying_studies_publish_it(tmp_path: Path) -> None:
    entry = {
        "origin_en": "You often make a backup plan for a backup plan",
        "origin_zh": "…",
        "rewritten_en": "Do you often make a backup plan for a backup plan?",
        "rewritten_zh": "…",
        "dimension": "P/J",
        "category": "J",
    }
    data = {"name": "16Personalities", "range": [1, 7], "reverse": [2], "questions": _numbered(entry)}
    item = _read(tmp_path, data)[0]
    assert (item.dimension, item.text) == ("JP", entry["origin_en"])
    assert item.statement
    assert item.options[-1].value == 1


def test_seven_points_are_seven_answers(tmp_path: Path) -> None:
    item = _read(tmp_path, [{**AGREE, "scale": 7}] * 4)[0]
    assert [option.value for option in item.options] == pytest.approx(
        [-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1]
    )
    asked = item_prompt(item, "letter", swapped=False)
    assert asked.options == tuple("ABCDEFG")
    assert "C: slightly disagree\n" in asked.prompt


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"1": 5}, "items.json:1: 1: must be an item, not a number"),
        ({"1": PARTY, "title": "MBTI"}, "items.json:1: title: must be a list, or a mapping with `items`, "),
        (
            {"1": PARTY, "": PARTY},
            "must be a list, or a mapping with `items`, `questions` or numbers as keys",
        ),
        ({}, "items.json:1: must be a list, or a mapping with `items`"),
        ({"questions": {}}, "questions: must be a list, or a mapping"),
        ({"questions": "1"}, "questions: must be a list of items"),
        (["a", "b"], "items[0]: must be an item, not text"),
        ({"1": {**PARTY, "A": "X"}}, "1.A: must be {text, pole}, or one of E, I, S, N, T, F, J, P, not X"),
        ({"1": {**PARTY, "A": 1}}, "1.A: must be {text, pole}, or one of E, I, S, N, T, F, J, P, not 1"),
        (
            {"1": {**PARTY, "question": "Q\nA. a"}},
            "1.question: must have option A and then B, on lines “A. …” and “B. …”; it has options A",
        ),
        ({"1": {**PARTY, "question": "Q"}}, "“B. …”; it has no options"),
        ({"1": {**PARTY, "question": "Q\nA. a\nA. b"}}, "it has options A, A"),
        ({"1": {**PARTY, "question": "Q\nB. a\nA. b"}}, "it has options B, A"),
        ({"1": {**PARTY, "question": "Q\nA. a\nB. b\nC. c"}}, "it has options A, B, C"),
        ({"1": {**PARTY, "question": "Q\nA. a\nB."}}, "1.question: option B has no text"),
        ({"1": {"question": "Q", "A": "E"}}, "1: B is missing; a question needs question, A, B"),
        ({"1": {**PARTY, "optionA": "a"}}, "1: optionB is missing"),
        (
            [{**AGREE, "dimension": "XY"}],
            "dimension: must be one of EI, SN, TF, JP, also as E/I, not XY",
        ),
        (
            [{"text": "S.", "dimension": "EI"}],
            "items[0]: pole is missing: which of E and I agreement",
        ),
        ([{"text": "S.", "dimension": "EI", "scale": 7}], "items[0]: pole is missing"),
        (
            [{"text": "S.", "dimension": "EI", "direction": "up"}],
            "items[0].direction: must be E or I, 1 or -1, + or -, positive or negative, not up",
        ),
        ([{**AGREE, "scale": 6}], "items[0].scale: must be 5 or 7 points, E or I, 1 or -1, + or -, positive"),
        ([{**AGREE, "scale": [1, 7]}], "items[0].scale: must be 5 or 7 points"),
        ([{**AGREE, "reverse": "yes"}], "items[0].reverse: must be true or false, not yes"),
        ([{**AGREE, "reverse": True}], "items[0].reverse: means I, but pole means E"),
        ([{**AGREE, "weight": 2}], "items[0].weight: unknown key (choose from statement, dimension, pole, "),
        ([{"dimension": "EI", "pole": "E"}], "items[0]: statement is missing"),
    ],
)
def test_what_is_wrong_with_a_published_file_is_reported_by_place(
    tmp_path: Path, entries: Any, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _read(tmp_path, entries)
    assert message in caught.value.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_named_with_its_remedy(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "items.json"
    file.write_bytes(json.dumps(_numbered(PARTY)).encode(encoding))
    with pytest.raises(UsageError, match=r"--items .*items\.json is UTF-(16|32), not UTF-8") as caught:
        read_items(file)
    assert "iconv -f UTF-" in (caught.value.hint or "")
    assert "> new-items.json" in (caught.value.hint or "")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"items\.json is empty; it must be a list"):
        read_items(_file(tmp_path, " \n"))
