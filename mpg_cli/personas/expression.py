"""Parses and formats persona expressions such as `INTJ:0.7+pirate:-0.5`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from mpg_cli.errors import ExpressionError
from mpg_cli.io.text import codepoint, visible, width

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
MAX_NAME = 64
# Effective weights are at most 10, but a file may scale a term down; beyond this it is a typo.
MAX_TERM_WEIGHT = 1000

_SPACE = re.compile(r"[ \t\r\n]*")
_WEIGHT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_FORM = "an expression is NAME or NAME:WEIGHT, joined by +, such as INTJ:0.7+pirate"
_SHOWN = (40, 24)  # characters of a long expression shown before and after the caret


@dataclass(frozen=True)
class Term:
    """A persona of an expression and its weight there."""

    name: str
    weight: float = 1.0


def parse(text: str) -> tuple[Term, ...]:
    """The terms of an expression in order of first appearance; repeated personas are added.

    Raises ExpressionError with a caret at the invalid character.
    """
    terms: list[Term] = []
    at = _skip(text, 0)
    if at == len(text):
        raise _error("the persona expression is empty", text, at, hint=_FORM)
    while True:
        term, at = _term(text, at)
        terms.append(term)
        if at == len(text):
            return combine(terms)
        if text[at] != "+":
            raise _between_terms(text, at)
        at = _skip(text, at + 1)


def combine(terms: Iterable[Term]) -> tuple[Term, ...]:
    """One term per persona (ignoring case), weights added, in order of first appearance."""
    sums: dict[str, tuple[str, Decimal]] = {}
    for term in terms:
        name, weight = sums.get(term.name.lower(), (term.name, Decimal(0)))
        sums[term.name.lower()] = name, weight + exact(term.weight)
    return tuple(Term(name, float(weight)) for name, weight in sums.values())


def format_expression(terms: Iterable[Term]) -> str:
    """The canonical form: no spaces, a weight of 1 left out. `parse` gives the same terms back."""
    return "+".join(
        term.name if term.weight == 1 else f"{term.name}:{format_weight(term.weight)}" for term in terms
    )


def format_weight(weight: float) -> str:
    """The shortest plain decimal that reads back as `weight`: no exponent, no trailing zeros."""
    digits = format(exact(weight), "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def exact(weight: float) -> Decimal:
    """`weight` as the decimal that was written, so that 0.1 + 0.2 - 0.3 is 0."""
    return Decimal(repr(float(weight)))


def _term(text: str, at: int) -> tuple[Term, int]:
    """The term that starts at `at`, and the position after it."""
    name = NAME.match(text, at)
    if name is None:
        raise _no_name(text, at)
    if name.end() - at > MAX_NAME:
        raise _error(f"a persona's name has at most {MAX_NAME} characters", text, at + MAX_NAME)
    at = _skip(text, name.end())
    if not text.startswith(":", at):
        return Term(name.group()), at
    start = _skip(text, at + 1)
    weight = _WEIGHT.match(text, start)
    if weight is None:
        found = "is missing" if start == len(text) else f"cannot start with {_quoted(text[start])}"
        raise _error(f"the weight of {name.group()} {found}", text, start, hint=_WEIGHT_HINT)
    if not abs(float(weight.group())) <= MAX_TERM_WEIGHT:
        raise _error(f"the weight of {name.group()} is beyond {MAX_TERM_WEIGHT}", text, start)
    at = _skip(text, weight.end())
    if at == weight.end() < len(text) and text[at] not in "+-":
        raise _error(f"{_quoted(text[at])} is not part of a weight", text, at, hint=_WEIGHT_HINT)
    return Term(name.group(), float(weight.group())), at


_WEIGHT_HINT = "a weight is a plain decimal such as 1, 0.5 or -0.5"


def _no_name(text: str, at: int) -> ExpressionError:
    if at == len(text):
        return _error("a persona is missing after the last +", text, at, hint=_FORM)
    char = text[at]
    if char == "+":
        return _error("a persona is missing before +", text, at, hint=_FORM)
    if char == ":":
        return _error("a persona is missing before the weight", text, at, hint=_FORM)
    message = f"a persona's name starts with a letter (A-Z, a-z), not with {_quoted(char)}"
    return _error(message, text, at, hint=_FORM)


def _between_terms(text: str, at: int) -> ExpressionError:
    char = text[at]
    if char == "-":
        hint = "to take a persona away give it a negative weight, such as INTJ+pirate:-0.5"
        return _error("terms are joined by +, not by -", text, at, hint=hint)
    if NAME.match(char):
        return _error("a + is missing between two personas", text, at, hint=_FORM)
    return _error(f"{_quoted(char)} does not belong here", text, at, hint=_FORM)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _quoted(char: str) -> str:
    return f"'{char}'" if char.isascii() and char.isprintable() else codepoint(char)


def _error(message: str, text: str, at: int, *, hint: str | None = None) -> ExpressionError:
    """The error with an escaped excerpt of `text` around `at`, and the caret's column in the excerpt."""
    first, last = max(0, at - _SHOWN[0]), at + _SHOWN[1]
    head = ("…" if first else "") + visible(text[first:at])
    tail = visible(text[at:last]) + ("…" if last < len(text) else "")
    return ExpressionError(message, text=head + tail, column=width(head), hint=hint)
