"""The sentence check: it passes sentences of the grammar and rejects shuffled ones."""

from __future__ import annotations

import random

import pytest

from recipes.mpg_tiny.fluency import SentenceCheck, grammar_sentences, shuffled, words


@pytest.fixture(scope="module")
def check() -> SentenceCheck:
    return SentenceCheck(dialogues=10000)


def test_fresh_sentences_pass_and_their_shuffles_do_not(check: SentenceCheck) -> None:
    fresh = grammar_sentences(1000, 99)
    assert sum(map(check.passes, fresh)) >= 0.97 * len(fresh)
    rejected = check.shuffles_rejected(fresh)
    assert len(rejected) > 0.9 * len(fresh)
    assert sum(rejected) >= 0.95 * len(rejected)


def test_an_invented_word_is_noticed(check: SentenceCheck) -> None:
    sentence = next(text for text in grammar_sentences(100, 98) if len(words(text)) == 8)
    assert check.passes(sentence)
    first, rest = sentence.split(" ", 1)
    assert not check.passes(f"{first} douch {rest}")


def test_a_shuffle_has_the_same_words_in_another_order() -> None:
    rng = random.Random(0)
    for _ in range(20):
        mixed = shuffled("Take it now.", rng)
        assert mixed != "take it now"
        assert sorted((mixed or "").split()) == ["it", "now", "take"]
    assert shuffled("Ha ha.", rng) is None
