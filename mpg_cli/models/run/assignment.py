"""Which adapter each physical row of a pass gets, arranged for batched products.

An entry is one adapter with its rows; a segment is a run of entries that are neighbours in their stack, all
with the same number of rows. A segment costs two products, over views of the pass where its rows are
neighbours there too. In passes with too many segments of that kind the rows are gathered: copied in the order
of the stacks, entries padded to the longest of their segment. What is padded is computed and dropped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mpg_cli.models.run.lora_stack import LoraStack
from mpg_cli.sampling.scorer import to_device

Place: TypeAlias = tuple[LoraStack, int]  # of an adapter: its stack, its index in it

# Costs of short passes: the fixed one of a segment, and of gathering, in multiplications; those of an entry
# (reading its factors) and of gathering a row in products of a row. From `python -m benchmarks.kernels`, for
# CUDA estimated from kernel launches; in long passes products outweigh the rest.
FIXED = {"cpu": 200_000, "cuda": 100_000_000}
ENTRY, GATHERED = 4.0, 0.75

PADDING = -1  # in place of a row


class Segment(NamedTuple):
    """Entries `indices` of a stack, each with `length` rows, the first of them row `first` of the pass."""

    stack: LoraStack
    indices: range
    first: int
    length: int

    @property
    def rows(self) -> int:
        return len(self.indices) * self.length


class Factors(NamedTuple):
    """A segment in one layer: A (n, d_in, r), B (n, r, d_out), n entries of `length` rows from `first` on."""

    a: Tensor
    b: Tensor
    first: int
    n: int
    length: int


class Gathered(NamedTuple):
    """Indices that bring the rows of a pass into the order of the segments, and back.

    `taken` are the rows of all segments, padding included, `order` these and the rows without an adapter;
    `back` (P,) says where each row is in `order`.
    """

    taken: Tensor
    order: Tensor
    back: Tensor


@dataclass(frozen=True)
class Arrangement:
    """The segments of a pass; `taken` are the rows that are gathered for them, None where they are views."""

    segments: tuple[Segment, ...]
    taken: tuple[int, ...] | None = None

    def cost(self, rows: int, fixed: int) -> float:
        """In multiplications of a layer, for a pass over so many rows."""
        gathered = 0.0
        if self.taken is not None:
            gathered = fixed + GATHERED * rows * max((s.stack.work for s in self.segments), default=0)
        products = (segment_cost(s.stack.work, len(s.indices), s.length, fixed) for s in self.segments)
        return gathered + sum(products)


def segment_cost(work: float, entries: int, length: int, fixed: int) -> float:
    """In multiplications of a layer, of which a row takes `work`."""
    return fixed + entries * (ENTRY + length) * work


class Assignment:
    """The adapters of P physical rows, while it is `valid`.

    `version` differs from that of every other assignment of the model.
    """

    def __init__(self, places: Sequence[Place | None], device: torch.device, version: int) -> None:
        self.rows, self.version, self.valid = len(places), version, True
        fixed = FIXED.get(device.type, FIXED["cuda"])
        ways = (in_place(places), regrouped(places, fixed))
        best = min(ways, key=lambda found: found.cost(len(places), fixed))
        self._segments = best.segments
        self._moves = {segment.stack: segment.stack.moves for segment in best.segments}
        self.gathered = None if best.taken is None else _indices(places, best.taken, device)
        self.factors: dict[str, tuple[Factors, ...]] = {}  # by layer, as far as asked for

    def factors_of(self, module: str) -> tuple[Factors, ...]:
        """The segments that adapt a layer."""
        found = self.factors[module] = tuple(
            Factors(*s.stack.factors(module, s.indices), s.first, len(s.indices), s.length)
            for s in self._segments
            if module in s.stack.ranks
        )
        return found

    @property
    def has_moved(self) -> bool:
        """Whether tensors of its stacks were replaced since."""
        return any(stack.moves != moves for stack, moves in self._moves.items())


def in_place(places: Sequence[Place | None]) -> Arrangement:
    """Segments whose rows are neighbours in the pass, in the order of the stack."""
    segments: list[Segment] = []
    row = 0
    while row < len(places):
        place, first = places[row], row
        while row < len(places) and places[row] == place:
            row += 1
        if place is None:
            continue
        (stack, index), length = place, row - first
        last = segments[-1] if segments else None
        if (
            last is not None
            and last.stack is stack
            and (last.indices.stop, last.length, last.first + last.rows) == (index, length, first)
        ):
            segments[-1] = last._replace(indices=range(last.indices.start, index + 1))
        else:
            segments.append(Segment(stack, range(index, index + 1), first, length))
    return Arrangement(tuple(segments))


def regrouped(places: Sequence[Place | None], fixed: int) -> Arrangement:
    """Segments over gathered rows. They may span unused entries of a stack, which are padding."""
    rows_of: dict[LoraStack, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, place in enumerate(places):
        if place is not None:
            rows_of[place[0]][place[1]].append(row)
    segments: list[Segment] = []
    taken: list[int] = []
    for stack, rows in rows_of.items():
        lengths = {index: len(rows[index]) for index in sorted(rows)}
        for indices, length in partition(lengths, partial(segment_cost, stack.work, fixed=fixed)):
            segments.append(Segment(stack, indices, len(taken), length))
            for index in indices:
                own = rows[index] if index in lengths else []
                taken += own + [PADDING] * (length - len(own))
    return Arrangement(tuple(segments), tuple(taken))


def partition(lengths: Mapping[int, int], cost: Callable[[int, int], float]) -> list[tuple[range, int]]:
    """Runs of indices with the longest of their lengths, which together cover all indices at the least cost.

    `lengths` by ascending index, `cost` from the entries of a run and their length. Dynamic programming over
    the end of the last run.
    """
    indices, counts = list(lengths), list(lengths.values())
    least, begins = [0.0], [0]  # cost up to each end, and the begin of the run that ends there
    for end in range(1, len(indices) + 1):
        longest, best, begin = 0, math.inf, 0
        for start in range(end - 1, -1, -1):
            longest = max(longest, counts[start])
            total = least[start] + cost(indices[end - 1] - indices[start] + 1, longest)
            if total < best:
                best, begin = total, start
        least.append(best)
        begins.append(begin)
    runs: list[tuple[range, int]] = []
    end = len(indices)
    while end:
        start = begins[end]
        runs.append((range(indices[start], indices[end - 1] + 1), max(counts[start:end])))
        end = start
    return runs[::-1]


def _indices(places: Sequence[Place | None], taken: Sequence[int], device: torch.device) -> Gathered:
    """The index tensors of gathered rows."""
    order = [*taken, *(row for row, place in enumerate(places) if place is None)]
    back = [0] * len(places)
    for at, row in enumerate(order):
        if row != PADDING:
            back[row] = at
    indices = torch.tensor([max(row, 0) for row in order])
    return Gathered(*(to_device(i, device) for i in (indices[: len(taken)], indices, torch.tensor(back))))
