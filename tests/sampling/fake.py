"""A hand-written model: R rows of distributions over a few tokens, a pure function of the prefix."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import torch
from torch import Tensor

from mpg_cli.sampling.scorer import Scores

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


@lru_cache(maxsize=100_000)
def scale(row: int, prefix: tuple[int, ...]) -> float:
    """The logsumexp of a row's logits after `prefix`."""
    return 1.5 * random.Random(repr(("scale", row, prefix))).gauss(1, 1)


@lru_cache(maxsize=100_000)
def log_probs(law: Law, rows: tuple[int, ...], prefix: tuple[int, ...]) -> Tensor:
    """(R, V) after `prefix`."""
    return torch.tensor([law(row, prefix) for row in rows], dtype=torch.float64).log().float()


class FakeScorer:
    """Rows of `law`, with the bookkeeping of a model's rows: one stream a sequence and candidate."""

    def __init__(self, law: Law, rows: Sequence[int], batch: int = 1, candidates: int = 1) -> None:
        self.law, self.row_ids = law, tuple(rows)
        self.rows, self.batch, self.candidates = len(self.row_ids), batch, candidates
        self.streams: list[list[list[int]]] = [[[] for _ in range(candidates)] for _ in range(batch)]
        self.passes = 0

    def log_probs(self, prefix: Sequence[int]) -> Tensor:
        """(R, V) after `prefix`."""
        return log_probs(self.law, self.row_ids, tuple(prefix))

    def score(self, drafts: Tensor) -> Scores:
        self.passes += 1
        prefixes = []
        for streams, candidates in zip(self.streams, drafts.tolist(), strict=True):
            for n, draft in enumerate(candidates):
                prefixes += [(*streams[n], *draft[:i]) for i in range(len(draft) + 1)]
                streams[n] = [*streams[n], *draft]
        shape = (*drafts.shape[:2], drafts.shape[2] + 1)  # (B, N, T+1)
        found = torch.stack([self.log_probs(prefix) for prefix in prefixes], dim=1)  # (R, B·N·(T+1), V)
        normaliser = torch.tensor([[scale(row, prefix) for prefix in prefixes] for row in self.row_ids])
        return Scores(found.unflatten(1, shape), normaliser.unflatten(1, shape))

    def check(self) -> None:
        """Nothing of it is NaN."""

    def push(self, tokens: Tensor) -> None:
        for streams, new in zip(self.streams, tokens.tolist(), strict=True):
            for stream, token in zip(streams, new, strict=True):
                stream.append(token)

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        for b, (n, new) in enumerate(zip(drop, tokens, strict=True)):
            stream = self.streams[b][winner[b] if winner else 0]
            stream = [*stream[: max(len(stream) - n, 0)], *new]
            self.streams[b] = [list(stream) for _ in range(self.candidates)]

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[Sequence[int]]]) -> None:
        for b, prompt in zip(slots, prompts, strict=True):
            self.streams[b] = [list(prompt[0]) for _ in range(self.candidates)]

    def select(self, slots: Sequence[int]) -> None:
        self.streams = [[list(stream) for stream in self.streams[b]] for b in slots]
        self.batch = len(slots)

    def clone(self, batch: int) -> FakeScorer:
        return FakeScorer(self.law, self.row_ids, batch)

    def copy(self, other: FakeScorer, theirs: Sequence[int], slots: Sequence[int]) -> None:
        self.insert(slots, [other.streams[b][:1] for b in theirs])
