"""Lists of different length as one tensor."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.scorer import padded


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([[1, 2, 3], [4], []], [[1, 2, 3], [4, 0, 0], [0, 0, 0]]),
        ([(5,)], [[5]]),
        ([[], []], [[], []]),
    ],
)
def test_short_lists_are_filled_up(lists: list[list[int]], expected: list[list[int]]) -> None:
    found = padded(lists)
    assert found.tolist() == expected
    assert found.dtype == torch.long
    assert found.shape == (len(lists), len(expected[0]))
