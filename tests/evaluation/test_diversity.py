"""Diversity against values that are worked out by hand."""

from __future__ import annotations

import math

import pytest

from mpg_cli.evaluation.diversity import bleu, distinct, self_bleu, words


def test_words_are_lower_case_and_signs_stand_alone() -> None:
    assert words("Don't stop — it's 5!") == ["don't", "stop", "—", "it's", "5", "!"]


def test_distinct_counts_over_all_texts_together() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b"]]
    assert distinct(texts, 1) == pytest.approx(2 / 6)  # a, b of six words
    assert distinct(texts, 2) == pytest.approx(2 / 4)  # ab, ba of ab ba ab | ab
    assert distinct(texts, 3) == pytest.approx(2 / 2)  # aba, bab: no trigram spans two texts
    assert distinct([["a"]], 2) is None


def test_bleu_of_the_reference_itself_is_one_and_of_nothing_alike_zero() -> None:
    text = ["the", "cat", "sat", "on", "the", "mat"]
    assert bleu(text, [text]) == pytest.approx(1.0)
    assert bleu(text, [["dogs", "run"]]) == 0.0
    assert bleu([], [text]) == 0.0


def test_bleu_by_hand() -> None:
    """5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples match; both texts are six words long."""
    own, reference = ["the", "cat", "sat", "on", "the", "rug"], ["the", "cat", "sat", "on", "a", "rug"]
    # words: the(1 of 2) cat sat on rug = 5/6; pairs: the-cat cat-sat sat-on = 3/5; 2/4; 1/3
    expected = math.exp((math.log(5 / 6) + math.log(3 / 5) + math.log(2 / 4) + math.log(1 / 3)) / 4)
    assert bleu(own, [reference]) == pytest.approx(expected)


def test_a_text_shorter_than_its_reference_is_penalised_and_gaps_are_smoothed() -> None:
    # "a b" against "a b c d": 2/2, 1/1, nothing of three words: 0.1/1 twice; penalty exp(1 - 4/2)
    expected = math.exp((0 + 0 + 2 * math.log(0.1)) / 4 - 1)
    assert bleu(["a", "b"], [["a", "b", "c", "d"]]) == pytest.approx(expected)


def test_self_bleu_is_the_mean_of_each_against_the_others() -> None:
    texts = [t.split() for t in ("a b c d e", "a b c x y", "a b c d e", "p q a b c")]
    alone = [bleu(own, texts[:at] + texts[at + 1 :]) for at, own in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(sum(alone) / 4)
    assert self_bleu([texts[0], texts[0]]) == pytest.approx(1.0)
    assert self_bleu(texts[:1]) is None
