"""The persona data: complete, of the right length, without repetition, and its parts on different prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest

from mpg_cli.errors import MpgError
from mpg_cli.personas import persona_data
from mpg_cli.personas.persona_data import NAMES, OPPOSITES, POLES, DataPrompt
from mpg_cli.personas.registry import load_default
from tests.support.phrases import phrases, words

LENGTHS = range(30, 81)  # words
MOST_SHARED = 0.10  # of the replies of a persona have one four-word phrase
SETS = {"prompts": persona_data.prompts, "tuning": persona_data.tuning, "heldout": persona_data.heldout}
PAIRS = [("prompts", "tuning"), ("prompts", "heldout"), ("tuning", "heldout")]


def shared(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """The share of the shorter text's phrases that the other has."""
    return len(one & other) / max(1, min(len(one), len(other)))


def asked(prompt: DataPrompt) -> str:
    return " ".join(turn.content for turn in prompt.messages if turn.role == "user")


def neutral(prompts: Iterable[DataPrompt]) -> dict[str, str]:
    return {prompt.id: prompt.neutral or "" for prompt in prompts}


def written(name: str) -> list[tuple[Sequence[DataPrompt], Mapping[str, str]]]:
    """The replies of a persona to the prompts of training and to those held out; `neutral` is one, too."""
    training, held = persona_data.prompts(), persona_data.heldout()
    if name == "neutral":
        return [(training, neutral(training)), (held, neutral(held))]
    return [(training, persona_data.replies(name)), (held, persona_data.references(name))]


WRITERS = (*NAMES, "neutral")


def test_there_are_as_many_prompts_as_the_readme_says() -> None:
    assert {name: len(read()) for name, read in SETS.items()} == {"prompts": 80, "tuning": 40, "heldout": 60}
    topics = {name: {prompt.topic for prompt in read()} for name, read in SETS.items()}
    assert {name: len(found) for name, found in topics.items()} == {"prompts": 10, "tuning": 8, "heldout": 12}
    assert sum(map(len, topics.values())) == len(set().union(*topics.values()))  # no topic in two sets


@pytest.mark.parametrize("name", SETS)
def test_prompts_are_different_and_end_with_the_user(name: str) -> None:
    prompts = SETS[name]()
    assert len({prompt.id for prompt in prompts}) == len({asked(prompt).lower() for prompt in prompts})
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        roles = [turn.role for turn in prompt.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"], prompt.id
        assert all(turn.content.strip() == turn.content != "" for turn in prompt.messages), prompt.id
        assert (prompt.neutral is None) == (name == "tuning"), prompt.id
        assert prompt.text == prompt.messages[-1].content


@pytest.mark.parametrize("one, other", PAIRS)
def test_no_prompt_is_near_to_one_of_another_set(one: str, other: str) -> None:
    for prompt in SETS[one]():
        for held in SETS[other]():
            pair = f"{prompt.id} {held.id}"
            assert prompt.id != held.id
            assert shared(phrases(asked(prompt), 3), phrases(asked(held), 3)) < 0.5, pair
            assert not phrases(asked(prompt), 7) & phrases(asked(held), 7), pair


@pytest.mark.parametrize("name", WRITERS)
def test_every_prompt_is_answered_once_at_the_right_length(name: str) -> None:
    for prompts, replies in written(name):
        assert list(replies) == [prompt.id for prompt in prompts]
        for at, reply in replies.items():
            assert len(reply.split()) in LENGTHS, at
            assert reply == " ".join(reply.split()), at  # one paragraph


@pytest.mark.parametrize("name", WRITERS)
def test_no_phrase_comes_often(name: str) -> None:
    for _, replies in written(name):
        counts = Counter(phrase for reply in replies.values() for phrase in phrases(reply, 4))
        phrase, count = counts.most_common(1)[0]
        assert count <= MOST_SHARED * len(replies), " ".join(phrase)


def test_no_reply_is_another_one() -> None:
    """Neither within a persona nor between two, nor a neutral one under another name."""
    every = [
        (" ".join(words(reply)), f"{name} {at}")
        for name in WRITERS
        for _, replies in written(name)
        for at, reply in replies.items()
    ]
    seen: dict[str, str] = {}
    for text, place in every:
        assert text not in seen, (place, seen[text])
        seen[text] = place


@pytest.mark.parametrize("name", NAMES)
def test_references_are_not_written_from_the_replies(name: str) -> None:
    replies = [phrases(reply, 3) for reply in persona_data.replies(name).values()]
    for at, reference in persona_data.references(name).items():
        assert max(shared(phrases(reference, 3), reply) for reply in replies) < 0.3, at


def test_the_names_are_personas_of_the_library() -> None:
    assert all(OPPOSITES[OPPOSITES[pole]] == pole != OPPOSITES[pole] for pole in POLES)
    assert set(OPPOSITES) == set(POLES)
    for name in NAMES:
        assert load_default().get(name).name == name


def test_an_unknown_persona_is_named_with_those_that_are_known() -> None:
    with pytest.raises(MpgError, match="no persona data of nobody") as raised:
        persona_data.replies("nobody")
    assert "pirate" in (raised.value.hint or "")
