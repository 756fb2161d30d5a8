"""Lists of different length as one tensor."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


def padded(lists: Collection[Sequence[int]]) -> Tensor:
    """n lists as (n, longest) long, filled up with zeros on the right."""
    longest = max(map(len, lists), default=0)
    filled = [[*own, *[0] * (longest - len(own))] for own in lists]
    return torch.tensor(filled, dtype=torch.long).view(len(lists), longest)
