"""Options as keyword arguments of a Python function."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mpg_cli.errors import RangeError, UsageError
from mpg_cli.options.keywords import Keywords
from tests.support.groups import Boat

SAIL = Keywords(Boat, without=("motor",))


@SAIL.named()
@SAIL.of
def sail(where: str, *, gently: bool = False, **options: Any) -> Boat:
    """Sail."""
    SAIL.check("sail", options)
    boat: Boat = SAIL.build(Boat, {"port": where, **options})
    return boat


def test_the_signature_and_the_docstring_have_them_in_place_of_the_rest() -> None:
    parameters = inspect.signature(sail).parameters
    assert list(parameters)[:3] == ["where", "gently", "port"]
    assert parameters["speed"].default == 1.5
    assert parameters["crew"].annotation == int | None
    assert {"ropes", "charts", "water_depth"} <= set(parameters)
    assert not {"options", "motor", "rope"} & set(parameters)
    assert (sail.__doc__ or "").startswith("Sail.\n\nOptions:\n")
    assert "\n  water_depth: How deep." in (sail.__doc__ or "")


def test_a_group_is_built_from_them() -> None:
    boat = sail("Kiel", speed=2.5, water_depth=4, ropes="long", buoys=[7])
    assert (boat.speed, boat.inner.depth, boat.ropes, boat.buoys) == (2.5, 4, ("long",), (7,))


def test_what_is_wrong_is_reported_by_the_name_of_the_keyword() -> None:
    with pytest.raises(RangeError, match=r"^water_depth 0 must be between 1 and 9$"):
        sail("Kiel", water_depth=0)
    with pytest.raises(RangeError, match=r"^buoys must be a whole number, not 'x'$"):
        sail("Kiel", buoys="x")
    with pytest.raises(UsageError, match=r"^sail\(\) has no option 'rope'; did you mean ropes\?$") as caught:
        sail("Kiel", rope="long")
    assert (caught.value.hint or "").startswith("choose from port, speed, crew, sails, water_depth, ")
    with pytest.raises(UsageError, match="no option 'motor'"):
        sail("Kiel", motor=True)


def test_parts_of_the_options_go_where_they_belong() -> None:
    given = {"speed": 1.0, "ropes": "long", "motor": True}
    assert SAIL.part(given) == {"speed": 1.0, "ropes": "long"}
    assert SAIL.keys(given) == {"speed", "rope"}
