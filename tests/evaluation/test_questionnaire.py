"""The built-in questionnaire: balance, distance from the training text; prompts of items."""

from __future__ import annotations

import re
from collections import Counter

from mpg_cli.evaluation.item_files import read_items
from mpg_cli.evaluation.questionnaire import DIMENSIONS, Item, Option, item_prompt
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
    assert asked.prompt == "What do you do at noon?\n- dance\n- read\nAnswer with one of these."
    assert (asked.opening, asked.options) == ("", ("dance", "read"))


def test_letters_move_with_the_order_and_stay_with_their_option() -> None:
    there, back = (item_prompt(PAIR, "letter", swapped=swapped) for swapped in (False, True))
    assert "A: dance\nB: read\n" in there.prompt
    assert "A: read\nB: dance\n" in back.prompt
    assert (there.options, back.options) == (("A", "B"), ("B", "A"))


def test_a_statement_is_answered_by_agreement() -> None:
    asked = item_prompt(AGREE, "text", swapped=True)
    assert asked.prompt.endswith("I agree, I disagree.")
    assert (asked.opening, asked.options) == ("I", ("disagree", "agree"))
