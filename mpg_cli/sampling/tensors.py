"""Small helpers for tensors of token ids and of draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


def padded(lists: Collection[Sequence[int]]) -> Tensor:
    """n lists as (n, longest) long, filled up with zeros on the right."""
    longest = max(map(len, lists), default=0)
    filled = [[*own, *[0] * (longest - len(own))] for own in lists]
    return torch.tensor(filled, dtype=torch.long).view(len(lists), longest)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. A GPU that is sent one from ordinary memory first ends all work before it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
