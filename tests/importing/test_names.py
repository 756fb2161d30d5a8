"""Names of personas from whatever a card calls its character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.importing.names import derived_name
from mpg_cli.personas.expression import MAX_NAME, NAME


@pytest.mark.parametrize(
    "title, name",
    [
        ("Seraphina", "Seraphina"),
        ("Ra's al Ghul", "Ras-al-Ghul"),
        ("2B", "persona-2B"),
        ("Éponine (NSFW) v2", "Eponine-NSFW-v2"),
        ("Straße Łódź Ærø", "Strasse-Lodz-Aero"),
        ("Жанна д'Арк", "Zhanna-dArk"),
        ("Ἀθηνᾶ", "Athina"),
        ("サクラ", "sakura"),
        ("김민지", "gimminji"),
        ("__init__", "init"),
        ("a\u0301b", "ab"),
        ("x" * 300, "x" * 64),
        ("龍", None),
        ("😀", None),
        ("", None),
    ],
)
def test_names(title: str, name: str | None) -> None:
    assert derived_name(title) == name


@given(st.text(max_size=80))
def test_every_name_is_one_that_a_persona_can_have(title: str) -> None:
    name = derived_name(title)
    assert name is None or (NAME.fullmatch(name) and len(name) <= MAX_NAME)
