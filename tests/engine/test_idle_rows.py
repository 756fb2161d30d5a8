"""Rows that no sequence uses: passes do not go over many of them for long."""

from __future__ import annotations

from pathlib import Path

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.models.load.loader import load_model
from mpg_cli.sampling.params import Scheme
from tests.support.requests import one, passes


def test_the_rows_of_larger_blends_leave_the_passes_while_others_run(world: Path) -> None:
    """Four slots of three rows each, then of one: soon no idle majority is left."""
    loaded = load_model(str(world / "base"), device="cpu", dtype="float32")
    how = Scheme(drafter="none")
    blends = [one(world, n, "word" * (n % 3 + 1), "bold+calm", scheme=how) for n in range(4)]
    plain = [one(world, n, "word" * (n % 3 + 1), "", scheme=how) for n in range(4, 44)]
    rows: list[int] = []
    with passes(loaded, lambda module, tokens: rows.append(len(tokens))):
        events = list(Engine(loaded, batch_size=4).run(iter([*blends, *plain])))
    assert sum(isinstance(event, Finished) for event in events) == 44
    assert max(rows) == 12
    assert max(rows[len(rows) // 2 :]) <= 8
