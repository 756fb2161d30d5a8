"""Entries of a lorebook: which are always in the prompt, as the specification and SillyTavern have it."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.personas.importing.lorebook import Book, read_book


def entry(content: str, order: Any = 0, **more: Any) -> dict[str, Any]:
    return {"content": content, "enabled": True, "constant": True, "insertion_order": order, **more}


def book(*entries: dict[str, Any]) -> Book:
    return read_book({"entries": list(entries)}, "x.json")


def test_constant_entries_in_their_order() -> None:
    found = book(
        entry("third", 3),
        entry("first", "1", position="after_char"),
        entry("ahead", 2, position="before_char"),
        entry("@@position before_desc\nahead too", 4),
        entry("@@unknown\n@@@dont_activate\nno"),
        entry("@@depth 4\n@@role system\n\nfourth", 4),
        entry("@@dont_activate\nno"),
        entry("@@activate\nfifth", 5, constant=False),
        entry("@@activate_only_after 3\nno"),
        entry("@@additional_keys a,b\nno"),
        entry("no", constant=False, use_regex=True),
        entry("no", extensions={"delay": 2}),
        entry(""),
    )
    assert found == Book(("ahead", "ahead too"), ("first", "third", "fourth", "fifth"), waiting=4, deep=1)


def test_what_sillytavern_writes_into_every_entry_changes_nothing() -> None:
    extensions = {
        "position": 1,
        "probability": 100,
        "useProbability": True,
        "group": "",
        "delay": 0,
        "depth": 4,
    }
    found = book(
        entry("ahead", use_regex=True, selective=True, secondary_keys=["x"], extensions={"position": 0}),
        entry("behind", use_regex=True, position="before_char", extensions=extensions),
        entry("deep", use_regex=True, position="after_char", extensions={"position": 4, "role": 0}),
    )
    assert found == Book(("ahead",), ("behind", "deep"), deep=1)


@pytest.mark.parametrize(
    "later",
    [
        {"delay_until_recursion": 1},
        {"delay_until_recursion": True},
        {"delayUntilRecursion": 2},
        {"delay": 1},
        {"position": 7, "outlet_name": "x"},
        {"triggers": ["continue", "swipe"]},
    ],
)
def test_entries_that_sillytavern_inserts_later_are_not_in_the_prompt(later: dict[str, Any]) -> None:
    for text in ("x", "@@activate\nx"):
        assert book(entry(text, extensions=later)) == Book(waiting=1)
    nothing = {"delay_until_recursion": False, "delay": 0, "position": 1, "triggers": []}
    assert book(entry("x", extensions=nothing)) == Book(after=("x",))
    assert book(entry("x", extensions={"triggers": ["normal", "swipe"]})).after == ("x",)


@pytest.mark.parametrize(
    "text, position, there",
    [
        ("x", 4, Book(after=("x",), deep=1)),
        ("x", 2, Book(after=("x",))),
        ("@@depth 4\nx", 1, Book(after=("x",), deep=1)),
        ("@@instruct_depth 1\n@@@position before_desc\nx", 1, Book(before=("x",), deep=1)),
        ("@@scan_depth 4\nx", 0, Book(before=("x",))),
    ],
)
def test_entries_among_the_messages_are_counted(text: str, position: int, there: Book) -> None:
    assert book(entry(text, extensions={"position": position})) == there


@pytest.mark.parametrize(
    "switches, there",
    [
        ({"enabled": "true", "constant": "true"}, True),
        ({"enabled": 1, "constant": 1}, True),
        ({"enabled": None}, True),
        ({"enabled": False}, False),
        ({"enabled": "false"}, False),
        ({"enabled": 0}, False),
        ({"disable": True}, False),
        ({"disable": False}, True),
        ({"constant": None}, False),
        ({"constant": "false"}, False),
    ],
)
def test_switches_as_programs_spell_them(switches: dict[str, Any], there: bool) -> None:
    assert book(entry("x", **switches)).after == (("x",) if there else ())


def test_books_of_other_shapes() -> None:
    world_info = {
        "uid": 0,
        "key": ["x"],
        "content": "Glow.",
        "constant": True,
        "disable": False,
        "position": 0,
    }
    later = {**world_info, "content": "Later.", "position": "1", "order": "7"}
    for found in ({"entries": {"0": world_info, "1": later}}, [world_info, later]):
        assert read_book(found, "x") == Book(("Glow.",), ("Later.",))
    for found in (None, {}, {"entries": None}, []):
        assert read_book(found, "x") == Book()


def test_what_chance_decides_is_decided_once() -> None:
    entries = [entry(f"{n}", extensions={"probability": 30, "useProbability": True}) for n in range(200)]
    found = book(*entries)
    assert 30 < len(found.after) < 90
    assert found.drawn == 200
    assert found == book(*entries)
    certain = [
        entry("a", extensions={"probability": 30, "useProbability": False}),
        entry("b", extensions={"probability": 100, "useProbability": True}),
        entry("c", extensions={"probability": "0"}),
    ]
    assert book(*certain).after == ("a", "b")


def test_one_entry_of_a_group() -> None:
    moods = [entry(mood, extensions={"group": "mood"}) for mood in ("glad", "sad", "cross")]
    found = book(*moods, entry("x", 9))
    assert (len(found.after), found.after[-1], found.drawn) == (2, "x", 3)
    assert book(*moods).after[0] in ("glad", "sad", "cross")
    first = entry("calm", 5, extensions={"group": "mood", "group_override": True})
    assert book(*moods, first).after == ("calm",)
    heavy = entry("calm", extensions={"group": "mood", "group_weight": 10**9})
    assert book(*moods, heavy).after == ("calm",)
    assert book(moods[0]) == Book((), ("glad",))
    own_book = entry("calm", 5, group="mood", groupOverride=True)
    assert book(*moods, own_book).after == ("calm",)
