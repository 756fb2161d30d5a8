"""Descriptions of option groups, and building them from values of any source."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import RangeError, UnknownChoice, UsageError
from mpg_cli.options.option import build, options_of
from tests.support.groups import Boat, Inner

BY_KEY = {one.key: one for one in options_of(Boat)}


def test_options_stand_in_the_order_of_fields_and_those_of_a_group_in_its_place() -> None:
    assert list(BY_KEY) == [
        *("port", "speed", "crew", "sails", "water_depth", "knots", "rope", "buoy", "chart", "signal"),
        *("name", "motor", "lights"),
    ]


def test_names_come_from_the_flag_and_the_field() -> None:
    depth, buoys, lights = BY_KEY["water_depth"], BY_KEY["buoy"], BY_KEY["lights"]
    assert (depth.name, depth.key, depth.keyword, depth.setting) == (
        *("water-depth", "water_depth", "water_depth", "--water-depth"),
    )
    assert (buoys.key, buoys.keyword) == ("buoy", "buoys")
    assert (lights.name, lights.setting) == ("lights", "--lights")
    assert (BY_KEY["port"].flag, BY_KEY["port"].setting) == ("", "PORT")


def test_kinds_defaults_and_choices_come_from_the_field() -> None:
    assert {key: one.kind for key, one in BY_KEY.items()} == {
        **dict.fromkeys(("port", "sails", "knots", "rope", "signal", "name"), str),
        **dict.fromkeys(("crew", "water_depth", "buoy"), int),
        **dict.fromkeys(("motor", "lights"), bool),
        "speed": float,
        "chart": Path,
    }
    assert [key for key, one in BY_KEY.items() if one.many] == ["rope", "buoy", "chart", "signal"]
    assert [key for key, one in BY_KEY.items() if one.optional] == ["crew", "knots", "name", "lights"]
    assert (BY_KEY["sails"].choices, BY_KEY["sails"].metavar) == (("main", "jib"), "main|jib")
    assert BY_KEY["port"].default is dataclasses.MISSING
    assert BY_KEY["signal"].default == {}


def test_what_is_not_given_has_its_default() -> None:
    assert build(Boat, {"port": "Kiel"}) == Boat("Kiel")
    assert build(Boat, {"port": "Kiel", "water_depth": 7}).inner == Inner(7)


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("knots", "auto", None),
        ("knots", "12", 12),
        ("knots", 12, 12),  # a value of Python, no text
        ("name", "7", 7),
        ("rope", None, ()),
        ("rope", "one", ("one",)),
        ("rope", ["one", "two"], ("one", "two")),
        ("buoy", [4], (4,)),
        ("buoy", 4, (4,)),
        ("chart", "sea.pdf", (Path("sea.pdf"),)),
        ("chart", [Path("sea.pdf")], (Path("sea.pdf"),)),
        ("signal", ["flag=true", "horn=no"], {"flag": True, "horn": "no"}),
        ("signal", {"flag": 1}, {"flag": 1}),
        ("port", Path("Kiel"), "Kiel"),
        ("crew", None, None),
        ("speed", 2, 2),
    ],
    ids=str,
)
def test_values_are_read(key: str, value: Any, read: Any) -> None:
    one = BY_KEY[key]
    assert getattr(build(Boat, {"port": "Kiel", key: value}), one.field) == read


def test_a_base_gives_what_is_not_given() -> None:
    base = Boat("Kiel", speed=9.0, inner=Inner(5), buoys=())
    assert build(Boat, {"crew": 2}, base) == dataclasses.replace(base, crew=2)
    assert build(Boat, {"water_depth": 6}, base) == dataclasses.replace(base, inner=Inner(6))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("speed", 0, "--speed 0 must be above 0"),
        ("speed", float("nan"), "--speed nan must be above 0"),
        ("speed", "fast", "--speed must be a number, not 'fast'"),
        ("speed", True, "--speed must be a number, not True"),
        ("crew", -1, "--crew -1 must be 0 or more"),
        ("crew", 1.5, "--crew must be a whole number, not 1.5"),
        ("water_depth", 10, "--water-depth 10 must be between 1 and 9"),
        ("knots", "many", "--knots 'many' must be auto or a whole number"),
        ("knots", 41, "--knots 41 must be at most 40"),
        ("sails", "jip", "unknown sails 'jip' (choose from main, jib); did you mean jib?"),
        ("sails", None, "--sails must be text, not None"),
        ("rope", 7, "--rope must be text, not 7"),
        ("buoy", ["x"], "--buoy must be a whole number, not 'x'"),
        ("signal", ["flag"], "--template-arg 'flag' is not KEY=VALUE"),
        ("signal", 7, "--signal must be a mapping"),
        ("name", 1.5, "--name must be a whole number or text, not 1.5"),
        ("motor", "yes", "--motor must be True or False, not 'yes'"),
        ("port", 7, "PORT must be text, not 7"),
    ],
    ids=str,
)
def test_what_cannot_be_is_reported_with_what_can(key: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Boat, {"port": "Kiel", key: value})
    assert caught.value.message.startswith(says)


def test_an_error_can_call_the_setting_otherwise() -> None:
    with pytest.raises(RangeError) as caught:
        Boat("Kiel", speed=-1)
    caught.value.rename({"--speed": "speed", "--sails": "the_sails"})
    assert str(caught.value) == caught.value.message == "speed -1 must be above 0"
    assert caught.value.hint == "row"
    with pytest.raises(UnknownChoice) as unknown:
        Boat("Kiel", sails="gaff")  # type: ignore[arg-type]
    assert unknown.value.setting == "--sails"
    names = {"--a": "a", "--a-b": "a_b"}
    error = UsageError("--a 1 and --a-b, '--a', x/--a, --c", hint="see --a-b")
    error.rename(names)
    assert (error.message, error.hint) == ("a 1 and a_b, '--a', x/--a, --c", "see a_b")
