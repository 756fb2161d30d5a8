"""Which waiting sequences get a slot: first come, first served, within the memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mpg_cli.engine.scheduler import Need, admitted, bytes_of

PLENTY = 10**9


def need(positions: int, rows: int = 1, scores: int = 0) -> Need:
    """Of a cache with a byte for each position of a row."""
    return Need(rows, positions, 1, scores)


def needs(*positions: int) -> list[Need]:
    return [need(count) for count in positions]


def test_rows_of_a_pass_are_as_long_as_the_longest() -> None:
    assert bytes_of([]) == 0
    assert bytes_of([need(10, rows=3), need(100, scores=7)]) == 4 * 100 + 7
    assert bytes_of([need(10), replace(need(20), adapters=5)]) == 2 * 20 + 5


def test_first_come_first_served_while_all_fit() -> None:
    assert admitted(needs(5, 90, 5, 5), [], 3, PLENTY) == [0, 1, 2]
    assert admitted(needs(5, 90, 5, 5), needs(7), 9, PLENTY) == [0, 1, 2, 3]
    assert admitted([], needs(7), 9, PLENTY) == []
    assert admitted(needs(5), [], 0, PLENTY) == []


def test_memory_is_known_before_it_is_taken() -> None:
    waiting = needs(10, 10, 10, 10)
    assert admitted(waiting, needs(10), 9, 40) == [0, 1, 2]
    assert admitted(waiting, needs(10), 9, 49) == [0, 1, 2]
    assert admitted(waiting, needs(10), 9, 50) == [0, 1, 2, 3]
    # Beside a long one every row is long.
    assert admitted(needs(10, 10), needs(30), 9, 89) == [0]
    assert admitted(needs(10, 10), needs(30), 9, 90) == [0, 1]
    assert admitted([need(10, scores=11)], needs(10), 9, 30) == []


def test_a_sequence_alone_is_always_admitted() -> None:
    assert admitted(needs(100, 100), [], 9, 1) == [0]
    assert admitted(needs(100), needs(1), 9, 1) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (300, [1, 2]),  # 100 beside 10, 10 and one that is running do not fit; later it runs with those two
        (299, [1]),  # with both of them it would not
        (199, []),  # it would not even beside one: nothing overtakes it
    ],
)
def test_others_overtake_only_where_the_first_in_line_still_fits_beside_them(
    limit: int, expected: list[int]
) -> None:
    running = [need(10, rows=3)]
    assert admitted(needs(100, 10, 10, 10), running, 9, limit) == expected


def test_what_would_delay_the_first_in_line_waits_although_there_is_room() -> None:
    """A row more for as long as the short one runs would make the long one's pass too large."""
    running = needs(10)
    assert admitted([need(100, rows=2), need(20)], running, 9, 299) == []
    assert bytes_of([*running, need(20)]) <= 299
    assert admitted([need(100, rows=2), need(20)], running, 9, 300) == [0]


def finish_times(lengths: Sequence[int], slots: int, limit: int) -> list[int]:
    """When each sequence ends, a position a round, if they are admitted so."""
    waiting, running = list(enumerate(needs(*lengths))), dict[int, tuple[Need, int]]()
    ended, now = [0] * len(lengths), 0
    while waiting or running:
        of_running = [own for own, _ in running.values()]
        places = admitted([own for _, own in waiting], of_running, slots - len(running), limit)
        for n, own in [waiting[place] for place in places]:
            running[n] = own, own.positions
            waiting.remove((n, own))
        now += 1
        running = {n: (own, left - 1) for n, (own, left) in running.items()}
        for n in [n for n, (_, left) in running.items() if not left]:
            ended[n] = now
            del running[n]
    return ended


def test_no_sequence_waits_forever() -> None:
    """Long and short ones in any order: all end, and memory is never exceeded but by one alone."""
    chance = random.Random(3)
    for _ in range(30):
        lengths = [chance.choice((3, 5, 8, 60, 200)) for _ in range(40)]
        ended = finish_times(lengths, 8, 400)
        assert all(ended)
        assert max(ended) <= sum(lengths)


def test_what_overtook_the_first_in_line_counts_until_it_ends() -> None:
    """Else short ones that come one by one would keep a long one waiting without end."""
    running = [need(10, rows=3)]
    assert admitted(needs(100, 10, 10), running, 9, 299) == [1]
    assert admitted(needs(100, 10), [*running, need(10)], 9, 299) == [1]
    assert admitted(needs(100, 10), [*running, need(10)], 9, 299, needs(10)) == []
