"""Expressions: what they mean, where the caret points, and that the canonical form reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.errors import ExitCode, ExpressionError
from mpg_cli.personas.expression import MAX_NAME, MAX_TERM_WEIGHT, Term, combine, format_expression, parse

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
weights = st.floats(-MAX_TERM_WEIGHT, MAX_TERM_WEIGHT).map(lambda weight: weight + 0.0)
term_lists = st.lists(st.builds(Term, names, weights), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "text, terms",
    [
        ("INTJ", [("INTJ", 1)]),
        ("INTJ+pirate", [("INTJ", 1), ("pirate", 1)]),
        ("INTJ:0.7+pirate:1.2", [("INTJ", 0.7), ("pirate", 1.2)]),
        ("INTJ+pirate:-0.5", [("INTJ", 1), ("pirate", -0.5)]),
        ("a:.5+b:+2+c:-.25+d:007", [("a", 0.5), ("b", 2), ("c", -0.25), ("d", 7)]),
        (" \tINTJ : 0.7\n+ pirate ", [("INTJ", 0.7), ("pirate", 1)]),
        ("I:0.5 + N:0.5", [("I", 0.5), ("N", 0.5)]),
        ("pirate+PIRATE:0.5+x+Pirate", [("pirate", 2.5), ("x", 1)]),
        ("a:0.1+a:0.2+a:-0.3", [("a", 0)]),
        ("no-1_x:0", [("no-1_x", 0)]),
        (f"a:{MAX_TERM_WEIGHT}", [("a", MAX_TERM_WEIGHT)]),
    ],
)
def test_parse_reads_terms(text: str, terms: list[tuple[str, float]]) -> None:
    assert parse(text) == tuple(Term(name, weight) for name, weight in terms)


@pytest.mark.parametrize(
    "text, shown, column, words",
    [
        ("", "", 0, "empty"),
        ("  ", "  ", 2, "empty"),
        ("+a", "+a", 0, "missing before +"),
        ("a++b", "a++b", 2, "missing before +"),
        ("a+", "a+", 2, "after the last +"),
        ("a + ", "a + ", 4, "after the last +"),
        (":0.5", ":0.5", 0, "before the weight"),
        ("0.5*a", "0.5*a", 0, "starts with a letter"),
        ("_a", "_a", 0, "starts with a letter"),
        ("a b", "a b", 2, "a + is missing"),
        ("a-b:1-c", "a-b:1-c", 5, "not by -"),
        ("a:1 - b", "a:1 - b", 4, "not by -"),
        ("a,b", "a,b", 1, "','"),
        ("a:", "a:", 2, "is missing"),
        ("a:x", "a:x", 2, "'x'"),
        ("a:inf", "a:inf", 2, "cannot start with 'i'"),
        ("a:nan", "a:nan", 2, "cannot start with 'n'"),
        ("a:-inf", "a:-inf", 2, "cannot start with '-'"),
        ("a:1e3", "a:1e3", 3, "'e'"),
        ("a:0x1f", "a:0x1f", 3, "'x'"),
        ("a:1_000", "a:1_000", 3, "'_'"),
        ("a:1.", "a:1.", 3, "'.'"),
        ("a:.", "a:.", 2, "'.'"),
        ("a:1,5", "a:1,5", 3, "','"),
        ("a:0.5:2", "a:0.5:2", 5, "':'"),
        ("a:- 1", "a:- 1", 2, "'-'"),
        ("a:٣", "a:٣", 2, "ARABIC-INDIC DIGIT THREE"),
        ("a:1٣", "a:1٣", 3, "ARABIC-INDIC DIGIT THREE"),
        ("a:1001", "a:1001", 2, "beyond 1000"),
        ("a\u00a0+b", r"a\xa0+b", 1, "NO-BREAK SPACE"),
        # What comes before the caret is shown as escapes or is wide: the caret moves along.
        ("\n?", r"\n?", 2, "'?'"),
        ("a\t+\n:1", r"a\t+\n:1", 6, "before the weight"),
        ("a:\x1b[31m", r"a:\x1b[31m", 2, "U+001B"),
        ("pi\u202erate", r"pi\u202erate", 2, "RIGHT-TO-LEFT OVERRIDE"),
        ("日本", "日本", 0, "U+65E5"),
        ("a日", "a日", 1, "U+65E5"),
        ("\ud800", r"\ud800", 0, "U+D800"),
    ],
)
def test_syntax_error_points_at_the_character(text: str, shown: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    message, echo, caret = caught.value.message.split("\n")
    assert words in message
    assert echo == "  " + shown
    assert caret == "  " + " " * column + "^"
    assert caught.value.column == column
    assert caught.value.exit_code == ExitCode.USAGE


def test_long_expression_is_shown_around_the_caret() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("+".join(["pirate"] * 500) + "?" + "+pirate" * 500)
    _, echo, caret = caught.value.message.split("\n")
    assert len(echo) < 80
    assert echo[caret.index("^")] == "?"


def test_name_and_number_are_bounded() -> None:
    assert parse("a" * MAX_NAME)[0].name == "a" * MAX_NAME
    with pytest.raises(ExpressionError, match="at most 64"):
        parse("a" * (MAX_NAME + 1))
    with pytest.raises(ExpressionError, match="beyond 1000"):
        parse("a:" + "9" * 5000)


@pytest.mark.parametrize(
    "terms, text",
    [
        ([Term("a")], "a"),
        ([Term("a", 0.7), Term("b", -0.5)], "a:0.7+b:-0.5"),
        ([Term("a", 2.0), Term("b", 100.0)], "a:2+b:100"),
        ([Term("a", 0.0), Term("b", -0.0)], "a:0+b:0"),
        ([Term("a", 1e-7)], "a:0.0000001"),
        ([Term("a", 0.1 + 0.2)], "a:0.30000000000000004"),
    ],
)
def test_format_is_canonical(terms: list[Term], text: str) -> None:
    assert format_expression(terms) == text


@given(term_lists)
def test_canonical_form_reads_back(terms: list[Term]) -> None:
    # Adding may leave the range of a single term; within it, nothing is lost.
    combined = tuple(term for term in combine(terms) if abs(term.weight) <= MAX_TERM_WEIGHT)
    if combined:
        text = format_expression(combined)
        assert parse(text) == combined
        assert format_expression(parse(text)) == text


@given(st.text(max_size=40))
def test_any_text_parses_or_is_an_expression_error(text: str) -> None:
    try:
        assert parse(text)
    except ExpressionError as error:
        echo, caret = error.message.split("\n")[1:]
        assert echo.isprintable()
        assert caret.strip() == "^"
