"""Writes plain data as YAML that `safe_yaml` parses to the same data.

PyYAML's own writer quotes by the rules of YAML 1.1: the text `1e3` would be read back as a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z](?:[\w./()+-]|, |; | (?! ))*[\w./()+-]|[A-Za-z]", re.ASCII)
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off"))
# Escaped inside quotes: line breaks of YAML and characters that a file must not contain.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_MAX_PLAIN = 200  # characters of an unquoted scalar
_NOT_IN_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_MAX_KEY = 120  # characters; longer keys go on a line of their own (YAML's limit is 1,024)


def to_yaml(data: Mapping[str, Any]) -> str:
    """One YAML document. Keys must be text, floats finite, text free of control characters."""
    return "\n".join(_mapping(data)) + "\n"


def scalar(value: Any) -> str:
    """Text, a number, a boolean or None on one line."""
    if isinstance(value, str):
        plain = len(value) <= _MAX_PLAIN and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _quoted(text: str) -> str:
    """Text in double quotes with JSON's escapes, which YAML shares."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))


def _mapping(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        name = scalar(key)
        if len(name) > _MAX_KEY:
            yield f"? {name}"
            name = ""
        yield from _entry(f"{name}:", value)


def _entry(key: str, value: Any) -> Iterator[str]:
    """`key` with its value on the same line or on the lines below."""
    if isinstance(value, Mapping) and value:
        yield key
        yield from _indented(_mapping(value))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield key
        yield from _indented(_list(value))
    elif isinstance(value, str) and "\n" in value and _is_block(value):
        yield f"{key} |{_chomping(value)}"
        yield from _indented(value.removesuffix("\n").split("\n"))
    else:
        yield f"{key} {_short(value)}"


def _list(values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            lines = _mapping(value)
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            lines = _list(value)
        else:
            lines = iter((_short(value),))
        yield f"- {next(lines)}"
        yield from _indented(lines)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return ("  " + line if line else "" for line in lines)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return scalar(value) if not isinstance(value, Sequence) or isinstance(value, str) else "[]"


def _is_block(text: str) -> bool:
    """Whether a literal block can represent `text`: no line may depend on white space at its ends."""
    return (
        not text.endswith("\n\n")
        and not text[:1].isspace()
        and not any(line.endswith((" ", "\t")) or line.startswith("\t") for line in text.split("\n"))
        and _NOT_IN_BLOCK.search(text) is None
    )


def _chomping(text: str) -> str:
    return "" if text.endswith("\n") else "-"
