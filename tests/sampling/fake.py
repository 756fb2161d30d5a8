"""A hand-written model: R rows of distributions over a few tokens, a pure function of the prefix."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

VOCABULARY = 4
END = 3  # the end token of these tests

Law = Callable[[int, tuple[int, ...]], tuple[float, ...]]  # (row, prefix) -> probabilities


@cache
def random_law(row: int, prefix: tuple[int, ...]) -> tuple[float, ...]:
    """Distinct, fairly concentrated distributions for each row and prefix; rows resemble each other."""
    shared = random.Random(repr(("shared", prefix)))
    own = random.Random(repr((row, prefix)))
    logits = [1.2 * shared.gauss(0, 1) + 0.6 * own.gauss(0, 1) for _ in range(VOCABULARY)]
    return tuple(torch.tensor(logits, dtype=torch.float64).softmax(0).tolist())


class FakeEngine:
    """Rows of `law`, with the same bookkeeping of streams as a real engine."""

    def __init__(self, law: Law, rows: Sequence[int], batch: int = 1) -> None:
        self.law, self.row_ids = law, tuple(rows)
        self.rows, self.batch = len(self.row_ids), batch
        self.streams: list[list[int]] = [[] for _ in range(batch)]
        self.passes = 0

    def log_probs(self, prefix: Sequence[int]) -> Tensor:
        """(R, V) after `prefix`."""
        laws = [self.law(row, tuple(prefix)) for row in self.row_ids]
        return torch.tensor(laws, dtype=torch.float64).log().float()

    def extend(self, drafts: Tensor) -> Tensor:
        self.passes += 1
        out = []
        for b, draft in enumerate(drafts[:, 0].tolist()):
            prefix = self.streams[b]
            out.append(
                torch.stack([self.log_probs([*prefix, *draft[:n]]) for n in range(len(draft) + 1)], dim=1)
            )  # (R, T+1, V)
            self.streams[b] = [*prefix, *draft]
        return torch.stack(out, dim=1)[:, :, None]  # (R, B, 1, T+1, V)

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        for b, (n, new) in enumerate(zip(drop, tokens, strict=True)):
            stream = self.streams[b]
            self.streams[b] = [*stream[: max(len(stream) - n, 0)], *new]
