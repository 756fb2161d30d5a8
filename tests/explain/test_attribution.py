"""Attribution of the tokens of a reply: text, origin, contributions, sentences."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.engine.events import Event, Finished, Round, Started, Usage, as_json
from mpg_cli.engine.explained import explained
from mpg_cli.engine.run_spec import RunSpec
from mpg_cli.explain.attribution import Explanation, Token, distinct, explain, origins
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import Seconds, Stats
from tests.support.replies import SPEC, reply
from tests.support.tokenizers import byte_tokenizer

END = 256


@cache
def tokenizer() -> Any:
    return byte_tokenizer(extra=3)


def ids(text: str) -> tuple[int, ...]:
    """A token a byte."""
    return tuple(tokenizer().encode(text, add_special_tokens=False))


def round_(tokens: str | tuple[int, ...], accepted: int, draft: str | tuple[int, ...] | None = None) -> Round:
    """A round that commits these tokens; by default what it accepted is all that was drafted."""
    tokens = ids(tokens) if isinstance(tokens, str) else tokens
    draft = ids(draft) if isinstance(draft, str) else draft
    drafted = tokens[:accepted] if draft is None else draft
    contributions = tuple((float(i), -0.5) for i, _ in enumerate(tokens))
    return Round(0, 0, drafted, len(drafted), accepted, tokens, contributions, Seconds())


def explanation(rounds: list[Round], text: str, count: int, spec: RunSpec = SPEC) -> Explanation:
    committed = tuple(t for r in rounds for t in r.tokens)[:count]
    finished = Finished(spec, text, committed, "stop", Usage(9, count), Stats())
    events: list[Event] = [Started(spec), *rounds, finished]
    *before, last = explained(events, tokenizer())
    assert before == events[:-1]
    assert isinstance(last, Finished)
    assert last.explanation is not None
    return last.explanation


def words(text: str, value: float = 1.0) -> list[Token]:
    """A token a character."""
    return [Token(ord(char), char, "accepted", (value, -value)) for char in text]


def sentences(text: str) -> list[str]:
    return [s.text for s in explain(("a", "b"), (1.0, 1.0), "nats", words(text)).sentences]


def test_accepted_corrected_and_bonus_tokens() -> None:
    rounds = [
        round_("abX", 2, "abc"),  # c was rejected
        round_("deY", 2, "de"),  # all accepted, one more
        round_("Z", 0, ""),  # nothing drafted
        round_("f", 1, "fg"),  # a stop string cut it
    ]
    assert origins(rounds) == [
        *[("accepted", None)] * 2,
        ("corrected", *ids("c")),
        *[("accepted", None)] * 2,
        ("bonus", None),
        ("bonus", None),
        ("accepted", None),
    ]


def test_a_character_of_several_tokens_is_the_text_of_its_last() -> None:
    text = "a🙂é"
    found = explanation([round_(text, 6)], text, 7)
    assert [t.text for t in found.tokens] == ["a", "", "", "", "🙂", "", "é"]
    assert [t.contributions for t in found.tokens] == [(float(i), -0.5) for i in range(7)]


def test_half_a_character_at_the_end_is_emitted_once() -> None:
    found = explanation([round_(ids("a🙂")[:3], 2)], "a\ufffd", 3)
    assert "".join(t.text for t in found.tokens) == "a\ufffd"


def test_what_a_stop_string_cut_is_no_text() -> None:
    found = explanation([round_("Hi##", 3)], "Hi", 4)
    assert [t.text for t in found.tokens] == ["H", "i", "", ""]


def test_the_end_token_is_left_out() -> None:
    found = explanation([round_((*ids("Hi"), END), 2)], "Hi", 2)
    assert [t.id for t in found.tokens] == list(ids("Hi"))


def test_a_corrected_token_has_its_drafted_token() -> None:
    found = explanation([round_("ab", 1, "ax"), round_("c", 0, (END,))], "abc", 3)
    said = [t.rejected and (t.rejected.id, t.rejected.text) for t in found.tokens]
    assert said == [None, (*ids("x"), "x"), (END, "")]


def test_the_strongest_contributed_most() -> None:
    found = Explanation(("a", "b"), (0.5, 0.5), "nats", (), ())
    strongest = [found.strongest(Token(0, "x", "bonus", own)) for own in ((1, 2), (0.2, -9), (-1, -2))]
    assert strongest == [1, 0, None]
    assert found.strongest(Token(0, "x", "bonus", (0.01, 0.02))) is None, "nothing to speak of"
    assert found.intensity(0, 1.0) == pytest.approx(0.632, abs=1e-3)
    assert found.intensity(1, -1.0) == 0


def test_shares_count_from_those_of_the_weights() -> None:
    found = Explanation(("a", "b"), (0.75, 0.25), "share", (), ())
    assert [found.intensity(0, v) for v in (0.5, 0.75, 0.875, 1.0)] == [0, 0, 0.5, 1]
    assert found.strongest(Token(0, "x", "bonus", (0.75, 0.25))) is None, "both say it alike"
    assert found.strongest(Token(0, "x", "bonus", (0.6, 0.4))) == 1, "more than its share"
    assert found.strongest(Token(0, "x", "bonus", (0.9, 0.1))) == 0
    assert Explanation(("a",), (1.0,), "share", (), ()).intensity(0, 1.0) == 1


def test_a_mixture_is_explained_by_shares() -> None:
    found = explanation(
        [round_("Hi", 1)], "Hi", 2, replace(SPEC, scheme=replace(SPEC.scheme, target="mixture"))
    )
    assert found.unit == "share"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Pi is 3.14, e.g. here. Yes", ["Pi is 3.14, e.g. here.", "Yes"]),
        ("“Go!” He went.", ["“Go!”", "He went."]),
        ("To do:\n1. Rest.\n2. Work.", ["To do:", "1. Rest.", "2. Work."]),
        ("A title\n\nAnd text", ["A title", "And text"]),
        ("行く。来る。", ["行く。", "来る。"]),
        ("Wait... what. And…", ["Wait... what.", "And…"]),
        ("", []),
        ("\n", [""]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="aB.!? \n1。", max_size=60))
def test_sentences_share_out_all_tokens_and_contributions(text: str) -> None:
    found = explain(("a", "b"), (1.0, 1.0), "nats", words(text))
    places = [at for s in found.sentences for at in range(s.first, s.end)]
    assert places == list(range(len(text)))
    assert sum(s.contributions[0] for s in found.sentences) == pytest.approx(len(text))
    assert all(s.contributions[0] == -s.contributions[1] == s.end - s.first for s in found.sentences)


def test_the_leading_experts_keep_their_order() -> None:
    tokens = (Token(0, "x", "bonus", (0.5, -3.0, 0.1, 2.0)),)
    assert Explanation(tuple("abcd"), (0.25,) * 4, "nats", tokens, ()).leading(2) == (1, 3)


def test_namesakes_are_distinguished() -> None:
    assert distinct(["pirate", "I", "pirate"]) == ("pirate", "I", "pirate (2)")
    twice = replace(SPEC, experts=(ExpertInfo("x", "prompt", 1.0), ExpertInfo("x", "adapter", 2.0)))
    found = explanation([round_("Hi", 1)], "Hi", 2, twice)
    assert found.as_json()["tokens"][0]["contributions"] == {"x": 0.0, "x (2)": -0.5}


def test_events_have_it_only_on_request() -> None:
    events = list(reply(["Aye"]))
    assert "explanation" not in as_json(events[-1])
    last = list(explained(events, tokenizer()))[-1]
    assert as_json(last)["explanation"]["unit"] == "nats"
