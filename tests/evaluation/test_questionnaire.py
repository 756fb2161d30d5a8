"""The built-in questionnaire and those of others: balance, distance from the training text, errors."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.questionnaire import DIMENSIONS, Item, Option, item_prompt, read_items
from recipes.mpg_tiny.corpus import corpus, messages, pairs
from recipes.mpg_tiny.grammar import POLES, every_expansion
from recipes.mpg_tiny.judge import sentences
from recipes.mpg_tiny.rather import CHOICES, SAY

ITEMS = read_items()


def test_the_built_in_items_are_balanced() -> None:
    assert len(ITEMS) >= 60
    assert len(set(Counter(item.dimension for item in ITEMS).values())) == 1
    first = Counter((item.dimension, item.options[0].value) for item in ITEMS)
    assert len(first) == 2 * len(DIMENSIONS)
    assert len(set(first.values())) == 1
    assert all(sorted(option.value for option in item.options) == [-1, 1] for item in ITEMS)


def test_no_option_of_the_built_in_items_is_there_twice() -> None:
    texts = [option.text for item in ITEMS for option in item.options]
    assert len(set(texts)) == len(texts)


def test_no_item_is_a_sentence_of_the_training_text() -> None:
    """Nor is an option said in any of the forms of a preference, nor does one begin with it, nor is it near
    one: fewer than six words of ten in common.
    """
    options = {_letters(option.text) for item in ITEMS for option in item.options}
    phrases = {
        _letters(words)
        for choices in CHOICES.values()
        for choice in choices
        for phrase in (choice.first, choice.second)
        for words in every_expansion(phrase)
    }
    assert len(phrases) > 140
    assert [o for o in options for p in phrases if _likeness(o, p) >= 0.6] == []
    texts = {message["content"] for spec in corpus(20000, 1) for message in messages(spec)}
    for pole in POLES:
        drawn = pairs(pole, 1)
        texts |= {message["content"] for _ in range(1500) for message in messages(next(drawn)[0])}
    said = {_letters(sentence) for text in texts for sentence in sentences(text)}
    said |= {_letters(form.format(phrase)) for phrase in phrases for form in SAY}
    assert len(said) > 10000
    forms = ["{}", *SAY]
    assert [o for o in options for form in forms if _letters(form.format(o)) in said] == []
    begun = {text for text in said if text.startswith("i would rather")}
    assert [o for o in options for text in begun if text.startswith(f"i would rather {o} ")] == []


def _letters(text: str) -> str:
    return " ".join(re.findall("[a-z]+", text.lower()))


def _likeness(one: str, other: str) -> float:
    """Jaccard's: the shared words of all the words."""
    ours, theirs = set(one.split()), set(other.split())
    return len(ours & theirs) / len(ours | theirs)


PAIR = Item("EI", "Would you rather …", (Option("dance", 1.0), Option("read", -1.0)))
AGREE = Item("EI", "I like parties.", tuple(Option(text, 0.0) for text in ("disagree", "agree")), True)


def test_a_question_names_both_options_in_either_order() -> None:
    there, back = (item_prompt(PAIR, "text", swapped=swapped) for swapped in (False, True))
    assert there.prompt == "Would you rather dance or read?"
    assert back.prompt == "Would you rather read or dance?"
    assert there.opening == back.opening == "I would rather"
    assert there.options == back.options == ("dance", "read")


def test_a_whole_question_is_followed_by_its_options() -> None:
    asked = item_prompt(Item("EI", "What do you do at noon?", PAIR.options), "text", swapped=False)
    assert (asked.prompt, asked.opening) == ("What do you do at noon?\ndance, or read?", "")


def test_letters_move_with_the_order_and_stay_with_their_option() -> None:
    there, back = (item_prompt(PAIR, "letter", swapped=swapped) for swapped in (False, True))
    assert "A: dance\nB: read\n" in there.prompt
    assert "A: read\nB: dance\n" in back.prompt
    assert (there.options, back.options) == (("A", "B"), ("B", "A"))


def test_a_statement_is_answered_by_agreement() -> None:
    asked = item_prompt(AGREE, "text", swapped=True)
    assert asked.prompt.endswith("I agree, I disagree.")
    assert (asked.opening, asked.options) == ("I", ("disagree", "agree"))


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
