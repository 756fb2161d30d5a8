"""Groups with one option of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpg_cli.options import readers
from mpg_cli.options.option import check_fields, group, option


@dataclass(frozen=True)
class Inner:
    depth: int = option(3, "--water-depth", metavar="M", low=1, high=9, help="How deep.")


@dataclass(frozen=True)
class Boat:
    port: str = option(argument=True, metavar="PORT", help="Where to.")
    speed: float = option(1.5, short="-s", metavar="X", low=0, above=True, help="How fast.", remedy="row")
    crew: int | None = option(None, metavar="N", low=0, help="How many.", shown="all")
    sails: Literal["main", "jib"] = option("main", help="Which sails.")
    inner: Inner = group(Inner)
    knots: int | None = option(
        None,
        metavar="auto|N",
        read=readers.auto_or_number("--knots", 0, 40),
        text="auto",
        high=40,
        help="Knots.",
    )
    ropes: tuple[str, ...] = option((), "--rope", metavar="TEXT", help="Ropes.")
    buoys: tuple[int, ...] = option((1, 2), "--buoy", metavar="N", help="Buoys.")
    charts: tuple[Path, ...] = option((), "--chart", metavar="FILE", help="Charts.")
    signals: Mapping[str, Any] = option(
        dict, "--signal", many=True, metavar="KEY=VALUE", read=readers.template_args, help="Signals."
    )
    name: int | str | None = option(None, metavar="ID", read=readers.sequence_id, help="Its name.")
    motor: bool = option(False, help="With the motor.")
    lights: bool | None = option(None, "--lights/--no-lights", help="With lights.")

    def __post_init__(self) -> None:
        check_fields(self)
