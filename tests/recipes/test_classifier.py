"""The second judge: it recognises the personas of fresh texts without markers."""

from __future__ import annotations

import pytest

from recipes.mpg_tiny.classifier import Classifier, features, mixed_specs, unmarked
from recipes.mpg_tiny.corpus import PERSONAS, reply
from recipes.mpg_tiny.judge import MARKERS, marker_pattern, plain


@pytest.fixture(scope="module")
def texts() -> list[tuple[set[str], str]]:
    """Fresh replies with their personas."""
    return [(spec.personas, reply(spec, 0)) for spec in mixed_specs(1500, 77)]


def test_no_marker_is_left_in_what_it_reads(texts: list[tuple[set[str], str]]) -> None:
    marker = marker_pattern("|".join(mark for marks in MARKERS.values() for mark in marks))
    pieces = {piece for _, text in texts for piece in unmarked(text)}
    assert any(marker.search(text.lower()) for _, text in texts)
    assert [piece for piece in pieces if marker.search(piece) or marker.search(plain(piece))] == []


def test_a_cut_leaves_no_trace_and_joins_nothing() -> None:
    assert features("Take it alone now.") == ["take", "it", "take it", "now"]


def test_punctuation_is_not_read() -> None:
    assert features("Go now!") == features("go, now: ...")


def test_it_agrees_with_the_grammar_on_fresh_texts(texts: list[tuple[set[str], str]]) -> None:
    judge = Classifier(texts=3000)
    for persona in PERSONAS:
        truth = [persona in shown for shown, _ in texts]
        said = judge.shows([text for _, text in texts], persona)
        shares = []
        for answer in (True, False):
            right = [one == other for one, other in zip(truth, said, strict=True) if one == answer]
            shares.append(sum(right) / len(right))
        assert sum(shares) / 2 >= 0.85, (persona, shares)
