"""How the rows of a pass are arranged: every row at its own adapter, at the least cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from torch import nn

from mpg_cli.models.run.assignment import Arrangement, Assignment, Place, in_place, partition, regrouped
from mpg_cli.models.run.lora_stack import LoraStack

MODEL = nn.ModuleDict({"up": nn.Linear(160, 448)})
STACKS = [LoraStack(MODEL, {"up": rank}) for rank in (8, 64)]


def rows_at(found: Arrangement, rows: int) -> dict[int, Place]:
    """The place of each row of a pass, padding left out."""
    order = range(rows) if found.taken is None else found.taken
    assert sum(segment.rows for segment in found.segments) <= len(order)
    at: dict[int, Place] = {}
    for segment in found.segments:
        for n in range(segment.rows):
            row = order[segment.first + n]
            if row >= 0:
                assert row not in at
                at[row] = (segment.stack, segment.indices[n // segment.length])
    return at


def test_every_row_is_at_its_adapter() -> None:
    draw = random.Random(1)
    for _ in range(200):
        known: list[Place | None] = [
            None,
            *((stack, n) for stack in STACKS for n in range(draw.randint(1, 9))),
        ]
        places: list[Place | None] = []
        while len(places) < 30:
            places += [draw.choice(known)] * draw.randint(1, 3)
        expected = {row: place for row, place in enumerate(places) if place is not None}
        for found in (in_place(places), regrouped(places, draw.choice([0, 10_000, 10**9]))):
            assert rows_at(found, len(places)) == expected


def blend(places: Sequence[int | None], batch: int) -> list[Place | None]:
    return [None if n is None else (STACKS[0], n) for n in places for _ in range(batch)]


@pytest.mark.parametrize("batch", [1, 7])
def test_a_blend_is_one_segment_of_views(batch: int) -> None:
    places = blend([None, None, 3, 4, 5], batch)
    assert Assignment(places, torch.device("cpu"), 1).gathered is None
    [segment] = in_place(places).segments
    assert (segment.indices, segment.first, segment.length) == (range(3, 6), 2 * batch, batch)


def test_many_blends_are_gathered() -> None:
    draw = random.Random(2)
    places = [place for _ in range(8) for place in blend([None, *draw.sample(range(24), 5)], 1)]
    assert Assignment(places, torch.device("cpu"), 1).gathered is not None


def test_a_pass_is_divided_at_the_least_cost() -> None:
    """Against all ways to divide eight adapters, with gaps between them."""
    draw = random.Random(3)
    for fixed in (0, 3, 20, 100):
        indices = sorted(draw.sample(range(12), 8))
        lengths = {index: draw.choice([1, 1, 2, 9]) for index in indices}

        def cost(entries: int, length: int, fixed: int = fixed) -> float:
            return fixed + entries * length

        def total(runs: Sequence[Sequence[int]], lengths: dict[int, int] = lengths) -> float:
            return sum(
                cost(run[-1] - run[0] + 1, max(lengths[i] for i in run if i in lengths)) for run in runs
            )

        ways = [
            [indices[a:b] for a, b in zip((0, *cuts), (*cuts, 8), strict=True)]
            for count in range(8)
            for cuts in combinations(range(1, 8), count)
        ]
        runs = partition(lengths, cost)
        assert [i for run, _ in runs for i in run if i in lengths] == indices
        assert all(longest == max(lengths.get(i, 0) for i in run) for run, longest in runs)
        assert total([run for run, _ in runs]) == min(map(total, ways))
