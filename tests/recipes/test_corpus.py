"""The corpus of the bundled model: rates, pairs, determinism, and a judge that agrees with the grammar."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from itertools import islice

import pytest

from recipes.mpg_tiny.corpus import (
    PERSONAS,
    TOPICS,
    corpus,
    messages,
    pairs,
    persona_prompts,
    question,
    reply,
)
from recipes.mpg_tiny.grammar import DIMENSIONS, NEUTRAL, every_expansion
from recipes.mpg_tiny.judge import personas_shown, poles_shown, sentences, voice_shares
from recipes.mpg_tiny.topics_leisure import ANYTHING
from recipes.mpg_tiny.voices import VOICES

SIZE = 20000


@pytest.fixture(scope="module")
def shown() -> list[set[str]]:
    """What the judge sees in the first reply of each dialogue."""
    return [personas_shown(reply(spec, 0)) for spec in corpus(SIZE, 1)]


def test_persona_prompts_cover_every_persona() -> None:
    assert set(persona_prompts()) == set(PERSONAS)


def test_there_are_at_least_twelve_topics() -> None:
    assert len(TOPICS) >= 12


def test_a_given_pair_of_personas_is_together_in_at_most_three_percent_of_texts(
    shown: list[set[str]],
) -> None:
    """Expected 1.1 % or less a pair."""
    counts = Counter(pair for names in shown for pair in itertools.combinations(sorted(names), 2))
    assert counts
    assert max(counts.values()) <= 0.03 * SIZE


def test_each_persona_occurs_at_a_low_natural_rate(shown: list[set[str]]) -> None:
    counts = Counter(name for names in shown for name in names)
    assert set(counts) == set(PERSONAS)
    assert all(0.01 * SIZE < count < 0.1 * SIZE for count in counts.values())


def test_neutral_texts_dominate(shown: list[set[str]]) -> None:
    assert sum(not names for names in shown) > 0.5 * SIZE


def test_the_judge_finds_exactly_the_personas_of_each_reply() -> None:
    wrong = [
        (spec.personas, text)
        for spec in corpus(3000, 2)
        if personas_shown(text := reply(spec, 0)) != spec.personas
    ]
    assert len(wrong) <= 3, wrong[:3]


@pytest.mark.parametrize("topic", [ANYTHING, *TOPICS], ids=lambda topic: topic.name)
def test_every_sentence_shows_its_pole_and_nothing_else(topic: object) -> None:
    for dimension, place in zip(DIMENSIONS, topic.places, strict=True):  # type: ignore[attr-defined]
        assert set(place) == {NEUTRAL, *dimension}
        for value, template in ((v, t) for v, templates in place.items() for t in templates):
            for text in every_expansion(template):
                assert poles_shown(text) == ({value} - {NEUTRAL}), text
                assert not any(voice_shares(text).values()), text
                assert len(sentences(text)) == 1, text


@pytest.mark.parametrize("voice", VOICES.values(), ids=lambda voice: voice.name)
def test_what_a_voice_adds_shows_the_voice_and_no_pole(voice: object) -> None:
    for text in (*voice.calls, *voice.tails, *voice.closings):  # type: ignore[attr-defined]
        assert not poles_shown(text), text
        assert {name for name, share in voice_shares(text).items() if share} == {voice.name}, text  # type: ignore[attr-defined]


@pytest.mark.parametrize("persona", PERSONAS)
def test_pairs_differ_in_the_one_persona(persona: str) -> None:
    for chosen, rejected in islice(pairs(persona, 5), 200):
        assert chosen.personas - {persona} == rejected.personas - _rivals(persona)
        assert persona in chosen.personas
        assert persona not in rejected.personas
        assert (chosen.seed, chosen.topics, chosen.system) == (
            rejected.seed,
            rejected.topics,
            rejected.system,
        )
        assert question(chosen, 0) == question(rejected, 0)
        if persona in VOICES:
            assert poles_shown(reply(chosen, 0)) == poles_shown(reply(rejected, 0))
            continue
        place = next(index for index, pair in enumerate(DIMENSIONS) if persona in pair)
        ours, theirs = sentences(reply(chosen, 0)), sentences(reply(rejected, 0))
        matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
        changed = [tag for tag in matcher.get_opcodes() if tag[0] != "equal"]
        assert len(changed) == 1, (ours, theirs)
        assert changed[0][1:3] == (place, place + 1), (ours, theirs)


def _rivals(persona: str) -> set[str]:
    """The personas that stand in the same attribute."""
    if persona in VOICES:
        return set(VOICES)
    return set(next(pair for pair in DIMENSIONS if persona in pair))


def test_the_corpus_is_a_function_of_its_seed() -> None:
    first, again, other = ([messages(spec) for spec in corpus(50, seed)] for seed in (3, 3, 4))
    assert first == again
    assert first != other
