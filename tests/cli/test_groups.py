"""Groups of options as parameters of a command, as Typer and its user see them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pytest
import typer

from mpg_cli.cli.groups import Pick, chosen, given, with_groups
from mpg_cli.cli.requests import RequestOptions
from mpg_cli.errors import RangeError, UnknownChoice
from mpg_cli.options.option import options_of
from tests.support.groups import Boat, Inner

built: list[Any] = []


@with_groups
def sail(ctx: typer.Context, boat: Boat) -> None:
    """Sail."""
    built.append((boat, {key for key in ("speed", "crew", "rope") if given(ctx, key)}, chosen(ctx, "knots")))


@with_groups
def drift(
    boat: Annotated[
        Boat,
        Pick(only=("port", "speed", "knots", "crew"), defaults={"speed": 0.5, "knots": 3, "crew": 2}),
    ],
    inner: Annotated[Inner, Pick(defaults={"water_depth": 2})],
) -> None:
    """Drift."""
    built.append((boat, inner))


@pytest.fixture
def run() -> Any:
    """Runs a command; the values that it got."""
    built.clear()
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command()(sail)
    app.command()(drift)
    command: Any = typer.main.get_command(app)

    def call(*argv: str, defaults: dict[str, Any] | None = None) -> Any:
        with command.make_context("boats", list(argv), default_map=defaults) as context:
            command.invoke(context)
        return built.pop()

    return call


def helped(name: str) -> str:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command("sail")(sail)
    app.command("drift")(drift)
    root: Any = typer.main.get_command(app)
    with root.make_context("boats", [], resilient_parsing=True) as context:
        command = root.commands[name]
        with command.make_context(name, [], parent=context, resilient_parsing=True) as own:
            return re.sub(r"\s+", " ", command.get_help(own))


def test_the_command_gets_the_group(run: Any) -> None:
    boat, on_line, of_knots = run("sail", "Kiel")
    assert (boat, on_line, of_knots) == (Boat("Kiel"), set(), False)
    argv = ["--water-depth", "4", "-s", "2", "--rope", "a", "--rope", "b", "--chart", "c.pdf", "--no-lights"]
    boat, on_line, of_knots = run(
        "sail", "Kiel", *argv, "--signal", "horn=3", defaults={"sail": {"knots": "7"}}
    )
    assert (boat.inner.depth, boat.speed, boat.ropes, boat.knots) == (4, 2.0, ("a", "b"), 7)
    assert (str(boat.charts[0]), boat.lights, boat.signals) == ("c.pdf", False, {"horn": 3})
    assert (on_line, of_knots) == ({"speed", "rope"}, True)


def test_a_part_of_a_group_and_defaults_of_a_command(run: Any) -> None:
    boat, inner = run("drift", "Kiel")
    assert (boat.speed, boat.knots, boat.crew, inner.depth) == (0.5, 3, 2, 2)
    with pytest.raises(Exception, match="No such option: --rope"):
        run("drift", "Kiel", "--rope", "a")


def test_wrong_values_are_reported_by_the_group(run: Any) -> None:
    with pytest.raises(UnknownChoice, match=r"unknown sails 'gaff' \(choose from main, jib\)"):
        run("sail", "Kiel", "--sails", "gaff")
    with pytest.raises(RangeError, match="--water-depth 0 must be between 1 and 9"):
        run("sail", "Kiel", "--water-depth", "0")


def test_help_shows_metavars_defaults_and_what_repeats() -> None:
    shown = helped("sail")
    for text in (
        "-s, --speed X How fast. [default: 1.5]",
        "--crew N How many. [default: (all)]",
        "--sails main|jib Which sails. [default: main]",
        "--water-depth M How deep. [default: 3]",
        "--knots auto|N Knots. [default: auto]",
        "--rope TEXT Ropes; repeatable.",
        "--motor With the motor.",
        "--lights / --no-lights With lights.",
    ):
        assert text in shown, shown
    shown = helped("drift")
    assert "--speed X How fast. [default: 0.5]" in shown
    assert "--crew N How many. [default: 2]" in shown
    assert "--water-depth M How deep. [default: 2]" in shown
    assert "--rope" not in shown


def test_no_two_options_of_a_request_have_one_name() -> None:
    options = options_of(RequestOptions)
    assert len({one.name for one in options}) == len({one.keyword for one in options}) == len(options)
