"""Persona names from the character names of cards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpg_cli.personas.expression import MAX_NAME, NAME
from mpg_cli.personas.importing.names import derived_name, fallback_name


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
        ("ルーシー", "rusi"),
        ("ﾈﾛ", "nero"),
        ("Ａｎｎ", "Ann"),
        ("Žofie", "Zofie"),
        ("Анна", "Anna"),
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


def test_a_title_without_letters_takes_the_name_of_its_file_or_one_of_its_own() -> None:
    assert fallback_name("李白", "li_bai v2") == "li_bai-v2"
    assert fallback_name("李白", "李白") == fallback_name("李白", "") != fallback_name("杜甫", "")
    assert NAME.fullmatch(fallback_name("李白", ""))


@given(st.text(max_size=80))
def test_every_name_is_one_that_a_persona_can_have(title: str) -> None:
    name = derived_name(title)
    assert name is None or (NAME.fullmatch(name) and len(name) <= MAX_NAME)
