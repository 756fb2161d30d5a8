"""Converters from option text to typed values; they raise UsageError with an example as the hint."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from mpg_cli.errors import RangeError, UsageError
from mpg_cli.io.text import check_text, visible

_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_MAX_DIGITS = 18  # of a token id


def finite(text: str) -> float | None:
    """The text as a finite number; None if it is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def quoted(text: str) -> str:
    """A value in quotes for messages, with control characters escaped."""
    return f"'{visible(text, 60)}'"


def texts(flag: str) -> Any:
    """A converter that checks repeated texts for valid UTF-8."""

    def read(values: Iterable[str]) -> tuple[str, ...]:
        return tuple(check_text(flag, text) for text in values)

    return read


def text(flag: str) -> Any:
    """A converter that checks one text for valid UTF-8."""

    def read(value: str) -> str:
        return check_text(flag, value)

    return read


def auto_or_number(flag: str, low: int, high: int) -> Any:
    """A converter of `auto` (None) or a whole number; the option checks the range."""

    def read(value: str) -> int | None:
        if value == "auto":
            return None
        try:
            return int(value)
        except ValueError:
            hint = f"give auto or a number from {low} to {high}"
            raise RangeError(flag, f"{quoted(value)} must be auto or a whole number", hint=hint) from None

    return read


def logit_bias(values: Iterable[str]) -> tuple[tuple[int, float], ...]:
    """Token ids and biases from ID:BIAS."""
    found = []
    for text in values:
        id_, _, bias = text.partition(":")
        value = finite(bias)
        if not re.fullmatch(rf"[0-9]{{1,{_MAX_DIGITS}}}", id_.strip()) or value is None:
            hint = "as in --logit-bias 198:-5; the token ids of a model are in its tokenizer.json"
            raise UsageError(f"--logit-bias {quoted(text)} is not ID:BIAS", hint=hint)
        found.append((int(id_), value))
    return tuple(found)


def template_args(values: Iterable[str]) -> dict[str, Any]:
    """Arguments from KEY=VALUE; a value that parses as JSON (true, 3, "x") is JSON, any other is text."""
    args: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            hint = "as in --template-arg enable_thinking=false"
            raise UsageError(f"--template-arg {quoted(text)} is not KEY=VALUE", hint=hint)
        if key in args:
            raise UsageError(f"--template-arg {key} is given twice")
        args[key] = _json_value(value.strip())
    return args


def sequence_id(text: str) -> int | str:
    """As JSON: 3 is a number; "3" (with quotes) and anything else is text."""
    if not text:
        raise UsageError(
            "--sequence-id is empty", hint="give the number of a sample or the id of a batch line"
        )
    try:
        value = json.loads(text)
    except ValueError:
        return text
    is_id = isinstance(value, str) or (type(value) is int and value >= 0)
    return value if is_id else text


def _json_value(text: str) -> Any:
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return check_text("--template-arg", text)
