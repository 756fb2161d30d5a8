"""Which of the waiting sequences get a slot: first come, first served, within the memory that is there.

A later sequence overtakes only into space that the first in line cannot use: where the first does not fit
beside the running ones, a shorter one may, as long as the first still fits once those have ended. Pure:
torch-free, no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What a sequence takes: rows of the caches, positions of the longest one, and bytes besides."""

    rows: int
    positions: int
    row_bytes: int  # of one position of one row
    scores: int  # bytes of the scores of a round
    adapters: int = 0  # bytes of adapters that are not in place yet


def bytes_of(needs: Sequence[Need]) -> int:
    """Bytes of sequences together: every row of a pass is as long as the longest."""
    if not needs:
        return 0
    longest = max(need.positions for need in needs)
    return sum(need.rows * longest * need.row_bytes + need.scores + need.adapters for need in needs)


def admitted(
    waiting: Iterable[Need],
    running: Sequence[Need],
    slots: int,
    limit: int,
    overtook: Sequence[Need] = (),
) -> list[int]:
    """The places of the waiting sequences that get one of the free `slots`; `limit` is in bytes.

    `overtook` are those of the running ones that overtook the first in line.
    A sequence that is alone is always admitted: its failure names the memory that it needs.
    """
    found: list[int] = []
    within: list[Need] = list(running)
    first: Need | None = None  # the first in line that does not fit
    beside = list(overtook)  # those that overtook it
    for place, need in enumerate(waiting):
        if len(found) == slots:
            break
        fits = not within or bytes_of([*within, need]) <= limit
        if first is not None:
            fits = fits and bytes_of([first, *beside, need]) <= limit
        if fits:
            found.append(place)
            within.append(need)
            if first is not None:
                beside.append(need)
        elif first is None:
            first = need
            beside = beside if place == 0 else []
    return found
