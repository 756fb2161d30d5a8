"""What is written as YAML reads back as the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpg_cli.io import safe_yaml
from mpg_cli.io.text import HARMFUL
from mpg_cli.io.yaml_text import to_yaml


def back(data: dict[str, Any]) -> Any:
    """What both of PyYAML's parsers read, or the only one that this system has."""
    text = to_yaml(data)
    (document,) = safe_yaml.parse(text, Path("x.yaml"))
    (other,) = safe_yaml.parse(text, Path("x.yaml"), loader=yaml.SafeLoader)
    assert other == document
    return document.data


ODD = [
    "", " ", "\n", "\n\n", "a\n", "a\n\n", " a\nb", "a \nb", "a\n b\n\n  c", "a\n\tb", "\ta\nb", "a\nb ", "#",
    "a #b", "a: b", "a:", "- a", "---", "...", "a\n---\nb", "no", "Null", "~", "1e3", "0x1", "012", "1_0",
    "<<", "!x", "&a", "*a", "%a", "@a", "`a", "'", '"', '"""', "\\", "\\x41", "[", "{}", "?", "? a", "|", ">",
    "a\u00a0", "\u2028", "a\u2029b\nc", "\ufeff", "\ufeffa\nb", "\uffff", "\ufffe", "é\nß", "😀\n😀",
    "x" * 5000, "=",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_as_values_keys_and_items(text: str) -> None:
    data = {"value": text, "list": [text, [text], {"k": text}], text + "k": 1, "map": {text: {text: text}}}
    assert back(data) == data


def test_what_it_looks_like() -> None:
    data = {"name": "pirate", "prompt": "You\n\nspeak: so", "n": [1, {"a": [], "b": [[2]]}], "e": {}}
    assert to_yaml(data) == (
        "name: pirate\nprompt: |-\n  You\n\n  speak: so\nn:\n  - 1\n  - a: []\n    b:\n      - - 2\ne: {}\n"
    )


_TEXT = st.one_of(
    st.text(max_size=20).filter(lambda text: not HARMFUL.search(text)),
    st.text(alphabet=" \n\t#:-'\"ab|>?é\u2028\ufeff", max_size=12),
    st.sampled_from(ODD),
)
_SCALAR = st.one_of(
    _TEXT,
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
)
_DATA = st.recursive(
    _SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXT, inner, max_size=4))
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(_TEXT, _DATA, min_size=1, max_size=5))
def test_any_data(data: dict[str, Any]) -> None:
    assert back(data) == data
