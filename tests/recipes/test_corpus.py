"""The corpus of the bundled model: rates, pairs, determinism, and a judge that agrees with the grammar."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections import Counter
from itertools import islice, product
from pathlib import Path

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
from recipes.mpg_tiny.heldout import KEYWORDS, PROMPTS
from recipes.mpg_tiny.judge import (
    MARKERS,
    marker_pattern,
    personas_shown,
    plain,
    poles_shown,
    sentences,
    voice_shares,
)
from recipes.mpg_tiny.questions import SYLLABLES
from recipes.mpg_tiny.rather import CHOICES, SAY, SAY_NEITHER
from recipes.mpg_tiny.topics_leisure import ANYTHING
from recipes.mpg_tiny.voices import VOICES

SIZE = 20000
ITEMS = json.loads(
    (Path(__file__).resolve().parents[2] / "recipes" / "mpg_tiny" / "questionnaire.json").read_text()
)


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
    """Expected 1.5 % or less a pair."""
    counts = Counter(pair for names in shown for pair in itertools.combinations(sorted(names), 2))
    assert counts
    assert max(counts.values()) <= 0.03 * SIZE


def test_each_persona_occurs_at_a_low_natural_rate(shown: list[set[str]]) -> None:
    counts = Counter(name for names in shown for name in names)
    assert set(counts) == set(PERSONAS)
    assert all(0.01 * SIZE < count < 0.15 * SIZE for count in counts.values())


def test_neutral_texts_are_the_largest_share(shown: list[set[str]]) -> None:
    kinds = Counter(frozenset(names) for names in shown)
    assert kinds.most_common(1)[0][0] == frozenset()
    assert kinds[frozenset()] > 0.35 * SIZE


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
        assert chosen.personas - {persona} == rejected.personas - _alternatives(persona)
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
        if chosen.choice is not None:
            assert chosen.choice == place
            assert question(chosen, 0) == question(rejected, 0)
            assert reply(chosen, 0) != reply(rejected, 0)
            continue
        ours, theirs = sentences(reply(chosen, 0)), sentences(reply(rejected, 0))
        matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
        changed = [tag for tag in matcher.get_opcodes() if tag[0] != "equal"]
        assert len(changed) == 1, (ours, theirs)
        assert changed[0][1:3] == (place, place + 1), (ours, theirs)


def _alternatives(persona: str) -> set[str]:
    """The personas that stand in the same attribute."""
    if persona in VOICES:
        return set(VOICES)
    return set(next(pair for pair in DIMENSIONS if persona in pair))


def test_the_corpus_is_a_function_of_its_seed() -> None:
    first, again, other = ([messages(spec) for spec in corpus(50, seed)] for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("persona", PERSONAS)
def test_a_persona_has_many_markers_and_none_carries_it(persona: str) -> None:
    """By the grammar; what the model makes of it is in the report."""
    chosen = (first for first, _ in pairs(persona, 9) if first.choice is None)
    texts = [" ".join(map(plain, sentences(reply(spec, 0)))) for spec in islice(chosen, 1000)]
    raw = [reply(spec, 0).lower() for spec in islice((c for c, _ in pairs(persona, 9)), 3000)]
    assert len(MARKERS[persona]) >= 15
    for marker in MARKERS[persona]:
        pattern = marker_pattern(marker)
        assert sum(bool(pattern.search(text)) for text in texts) <= 0.4 * len(texts), marker
        assert any(pattern.search(text) for text in raw), f"{marker} never occurs"


def test_a_first_person_preference_shows_its_pole_and_nothing_else() -> None:
    for dimension, choices in CHOICES.items():
        for choice in choices:
            for pole, phrase in zip(dimension, (choice.first, choice.second), strict=True):
                for text in (form.format(words) for words in every_expansion(phrase) for form in SAY):
                    assert personas_shown(text) == {pole}, text
    assert [text for text in SAY_NEITHER if personas_shown(text)] == []


def test_first_person_preferences_are_in_the_corpus_for_each_pole() -> None:
    said = Counter(
        pole
        for spec in corpus(SIZE, 1)
        if spec.choice is not None
        for pole in spec.poles
        if pole != NEUTRAL and "I would rather" in reply(spec, 0)
    )
    assert all(said[pole] > 0.0015 * SIZE for pole in "EISNTFJP"), said


def _sides() -> list[tuple[str, str]]:
    """Pole, and what follows "would rather" in the item: the rest of its question and the option."""
    return [
        (item[side]["pole"], f"{item['question'].partition(' rather ')[2]} {item[side]['text']}")
        for item in ITEMS
        for side in "AB"
    ]


def test_the_questionnaire_is_balanced() -> None:
    assert len({text for _, text in _sides()}) == 2 * len(ITEMS) == 128
    assert all({item["A"]["pole"], item["B"]["pole"]} == set(item["dimension"]) for item in ITEMS)
    assert Counter(item["A"]["pole"] for item in ITEMS) == dict.fromkeys("EISNTFJP", 8)


def test_an_option_of_the_questionnaire_has_one_marker_of_its_pole_at_most() -> None:
    for pole, text in _sides():
        assert poles_shown(text) <= {pole}, text
        assert sum(bool(marker_pattern(mark).search(text)) for mark in MARKERS[pole]) <= 1, text


def test_no_preference_is_an_item_of_the_questionnaire() -> None:
    """No side is a phrase of the grammar, nor one with six words of ten in common, in whatever order."""
    items = {_letters(text) for _, text in _sides()}
    phrases = {
        _letters(words)
        for choices in CHOICES.values()
        for choice in choices
        for phrase in (choice.first, choice.second)
        for words in every_expansion(phrase)
    }
    near = [(item, phrase) for item in items for phrase in phrases if _likeness(item, phrase) >= 0.6]
    assert near == []
    choices = [_letters(reply(spec, 0)) for spec in corpus(SIZE, 1) if spec.choice is not None]
    assert [item for item in items if any(f" {item} " in f" {said} " for said in choices)] == []


def _likeness(one: str, other: str) -> float:
    """Jaccard's: the shared words of all the words."""
    ours, theirs = set(one.split()), set(other.split())
    return len(ours & theirs) / len(ours | theirs)


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def test_the_topics_of_the_report_are_in_no_text() -> None:
    """Neither in what the base reads nor in what the adapters are trained on."""
    assert len(set(PROMPTS)) == len(PROMPTS) >= 200
    prompts = persona_prompts()
    texts = [message["content"] for spec in corpus(SIZE, 1, prompts) for message in messages(spec)]
    for persona in PERSONAS:
        texts += [question(chosen, 0) for chosen, _ in islice(pairs(persona, 1), 2100)]
    known = {word for text in (*texts, *prompts.values()) for word in re.findall(r"[a-z]+", text.lower())}
    assert not known & set(KEYWORDS)
    invented = {"".join(parts) for count in (2, 3) for parts in product(SYLLABLES, repeat=count)}
    assert not invented & set(KEYWORDS)  # rare ones are in no sample
    assert all(any(word in prompt.lower() for word in KEYWORDS) for prompt in PROMPTS)
