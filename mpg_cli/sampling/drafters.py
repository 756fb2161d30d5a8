"""What proposes a chunk (algorithm page, section 3): one row of a model that steps token by token.

Which row that is (reference, one persona, the merged adapter) is the loader's business; here it is an
engine with R = 1. No drafter at all is a chunk size of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpg_cli.sampling.engine import Engine


@dataclass(frozen=True)
class Draft:
    """Drafted tokens (B, T) and log q of each of them (B, T).

    `size` is the gamma that was asked for; T is less when every sequence has drafted its end token.
    """

    size: int
    tokens: Tensor
    log_q: Tensor


class RowDrafter:
    """Steps an engine of one row."""

    def __init__(self, engine: Engine) -> None:
        if engine.rows != 1:
            raise ValueError("a drafter has one row")
        self.engine = engine

    def next(self) -> Tensor:
        """log q of the next token after everything held so far: (B, V), not yet warped."""
        empty = torch.zeros(self.engine.batch, 1, 0, dtype=torch.long)
        return self.engine.extend(empty)[0, :, 0, 0]  # (1, B, 1, 1, V) -> (B, V)

    def push(self, tokens: Sequence[int]) -> None:
        """Hold one more drafted token a sequence."""
        self.engine.commit([0] * self.engine.batch, [[t] for t in tokens])

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """The round is over: forget the last `drop` drafted tokens of each sequence, then append `tokens`."""
        self.engine.commit(drop, tokens)
