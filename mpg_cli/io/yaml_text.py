"""Plain data as YAML that `safe_yaml` reads back as the same data: mappings, lists, text, numbers, booleans.

PyYAML's own writer quotes by the rules of YAML 1.1; `1e3` as text would come back as a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z](?:[\w./()+-]|, |; | (?! ))*[\w./()+-]|[A-Za-z]", re.ASCII)
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off"))
# Inside of quotes: what ends a line for YAML or may not stand in a file.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_NOT_IN_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_LONGEST_KEY = 120  # written; longer keys need a line of their own, YAML's limit is 1,024
_LONGEST_PLAIN = 200


def to_yaml(data: Mapping[str, Any]) -> str:
    """One document. Keys are text; floats must be finite and text free of control characters."""
    return "\n".join(_mapping(data)) + "\n"


def scalar(value: Any) -> str:
    """Text, number, boolean or nothing on one line."""
    if isinstance(value, str):
        plain = len(value) <= _LONGEST_PLAIN and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _quoted(text: str) -> str:
    """In the quotes of JSON, which YAML shares."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))


def _mapping(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        name = scalar(key)
        if len(name) > _LONGEST_KEY:
            yield f"? {name}"
            name = ""
        yield from _entry(f"{name}:", value)


def _entry(key: str, value: Any) -> Iterator[str]:
    """`key` with a value behind it or in the lines below."""
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
    """Whether a literal block can hold `text`: no line may hang on white space at its start or end."""
    return (
        not text.endswith("\n\n")
        and not text[:1].isspace()
        and not any(line.endswith((" ", "\t")) or line.startswith("\t") for line in text.split("\n"))
        and _NOT_IN_BLOCK.search(text) is None
    )


def _chomping(text: str) -> str:
    return "" if text.endswith("\n") else "-"
