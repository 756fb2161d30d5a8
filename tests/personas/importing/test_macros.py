"""Macros of character cards, and that text made to blow up does not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.errors import UsageError
from mpg_cli.personas.importing.macros import Macros


def expand(text: str, **names: str) -> str:
    return Macros(**{"char": "Ada", "user": "Bob", "original": "Be kind.", **names}).expand(text)


@pytest.mark.parametrize(
    "text, result",
    [
        ("{{char}} {{Char}} {{CHAR}} {{ char }} <char> <BOT> {{bot}}", "Ada Ada Ada Ada Ada Ada Ada"),
        ("{{user}} {{UsEr}} <User>", "Bob Bob Bob"),
        ("{{original}} Rhyme.", "Be kind. Rhyme."),
        ("a{{// {{char}} is a spy}}b{{comment: x}}c{{hidden_key:k}}d", "abcd"),
        ("{{reverse:Hello}} {{reverse:{{char}}}}", "olleH adA"),
        ("{{random:x}}{{pick::y}}{{random::z::z}}{{random: u , u}}", "xyzu"),
        ("{{random:a\\,b}} {{random::a, b::a, b}}", "a,b a, b"),
        ("{{roll:1}}{{roll:d1}}{{roll 1}}{{roll::1d1}}{{Roll: 2d1 + 1}}{{dice:3D1-1d1-1}}", "111131"),
        (
            "{{roll}} {{roll:}} {{roll:5+5}} {{roll:2d}} {{roll:1d6x}} {{roll:1d6 2}}",
            "{{roll}} {{roll:}} {{roll:5+5}} {{roll:2d}} {{roll:1d6x}} {{roll:1d6 2}}",
        ),
        (
            "{{name1}} {{name2}} {{charIfNotGroup}} {{random_user_1}}{{noop}}{{newline}}.",
            "Bob Ada Ada Bob\n.",
        ),
        ("a\n\n{{trim}}\r\nb{{ Trim }}c", "abc"),
        ("{{setvar::mood::{{char}}}}{{getvar::mood}} {{getvar::x}}", "Ada {{getvar::x}}"),
        ("{{time}} {{#if x}} {{roll:dd}}", "{{time}} {{#if x}} {{roll:dd}}"),
        ("{{char {{user}} }} } { {{", "{{char Bob }} } { {{"),
        ("}} {{ {{char", "}} {{ {{char"),
        ("<bottle> <START> {x} {chart} {{{char}}}", "<bottle> <START> {x} {chart} {{{char}}}"),
        ("{char} {Character} {user}'s #{user}: #{character}:", "Ada Ada Bob's Bob: Ada:"),
        ("{{ // x }}{{reverse abc}}{{random: }}.", "cba."),
    ],
)
def test_macros(text: str, result: str) -> None:
    assert expand(text) == result


def test_what_comes_in_is_not_expanded_again() -> None:
    assert expand("{{char}} {{reverse:}}resu{{}}", char="{{user}}") == "{{user}} resu{{}}"
    assert expand("<user>", user="<char>") == "<char>"


def test_texts_of_the_card_stand_for_their_macros() -> None:
    own = {
        "description": "{{char}} is {{scenario}}, {{random::a::b::c::d}}.",
        "scenario": "{user}'s",
        "persona": "",
    }
    macros = Macros("Ada", "Bob", fields=own)
    once = macros.expand("{{Description}}")
    assert once in {f"Ada is {{{{scenario}}}}, {letter}." for letter in "abcd"}
    assert macros.expand("{{description}}|{{ scenario }}|{{persona}}") == f"{once}|Bob's|"
    assert list(macros.unknown) == ["{{scenario}}"]
    assert macros.expand("{{personality}} {{description x}}") == "{{personality}} {{description x}}"


def test_texts_that_vanish_are_not_read_again_and_again() -> None:
    own = {"scenario": "{{// " + "x" * 500_000 + "}}"}
    start = time.perf_counter()
    assert Macros("Ada", "Bob", fields=own).expand("{{scenario}}" * 40_000) == ""
    assert time.perf_counter() - start < 5


def test_random_values_are_among_the_choices_and_stay() -> None:
    text = "{{random:oak,elm,ash}} {{pick::1,2,3}} {{roll:d6}}"
    found = {expand(text) for _ in range(5)}
    assert len(found) == 1
    tree, number, roll = found.pop().split()
    assert tree in ("oak", "elm", "ash")
    assert number in "123"
    assert 1 <= int(roll) <= 6
    for formula, least, most in (("2d6", 2, 12), ("d20", 1, 20), ("4d4-2", 2, 14), ("1d6+1d6+3", 5, 15)):
        assert least <= int(expand(f"{{{{roll:{formula}}}}}")) <= most
    assert len(set(expand("{{roll:d1000}} " * 5).split())) > 1  # dice are thrown each time
    assert len(set(expand("{{random::a::b::c::d}}" * 40))) > 1
    macros = Macros("Ada", "Bob")
    macros.expand(text + "{{time}}")
    assert list(macros.settled) == ["random", "pick", "roll"]
    assert list(macros.unknown) == ["{{time}}"]


@pytest.mark.parametrize(
    "text",
    [
        "{{" * 100_000,
        "{{" * 50_000 + "}}" * 50_000,
        "{{a}}" * 50_000,
        "}}{{" * 90_000,
        "\n" * 500_000,
        "{{roll" + " " * 500_000 + "}}",
    ],
)
def test_braces_without_end_take_no_time(text: str) -> None:
    start = time.perf_counter()
    assert expand(text) == text
    assert time.perf_counter() - start < 5


def test_a_text_that_grows_without_measure_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x\.json: the expanded texts are longer than 1 million characters"):
        expand("<bot>" * 100_000, char="A" * 200, where="x.json")
    with pytest.raises(UsageError, match="longer than 1 million characters"):
        Macros("Ada", "Bob", fields={"scenario": "x" * 999}).expand("{{scenario}}" * 2000)


@given(st.text(alphabet="{}<>abchru:/,\\ sertopd", max_size=60))
def test_any_text_is_expanded_or_stays(text: str) -> None:
    assert expand(expand("{{//" + text.replace("{", "").replace("}", "") + "}}")) == ""
    expand(text)
