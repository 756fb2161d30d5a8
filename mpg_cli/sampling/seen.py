"""Which tokens a repetition penalty marks: those of the reply so far, and of the draft before a position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.transfer import sent


def seen(replies: Sequence[Sequence[int]], drafted: Sequence[Tensor], like: Tensor) -> Tensor:
    """Tokens of B replies and of what was drafted after them, each (B, N): (B, N, V) bool, as `like`."""
    marks = torch.zeros_like(like, dtype=torch.bool)
    for b, tokens in enumerate(replies):
        marks[b].index_fill_(-1, sent(torch.tensor(tokens, dtype=torch.long), like.device), True)
    for step in drafted:
        marks.scatter_(-1, step[..., None], True)  # (B, N, 1)
    return marks


def seen_along(replies: Sequence[Sequence[int]], draft: Tensor, like: Tensor) -> Tensor:
    """The same before each position of the draft (B, N, T): (B, N, T+1, V), as `like`."""
    steps = sent(draft, like.device).unbind(-1)
    found = [seen(replies, (), like[:, :, 0])]
    for step in steps:
        found.append(found[-1].scatter(-1, step[..., None], True))
    return torch.stack(found, dim=2)
