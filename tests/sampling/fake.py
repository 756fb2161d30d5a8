"""A hand-written model: R rows of distributions over a few tokens, a pure function of the prefix."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from mpg_cli.sampling.scorer import Kept, Scores

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
    """Rows of `law` in `batch` slots, with the bookkeeping of a model: a stream a slot and candidate."""

    def __init__(self, law: Law, rows: Sequence[int], batch: int = 1, candidates: int = 1) -> None:
        self.law, self.row_ids, self.candidates = law, tuple(rows), candidates
        self.streams: list[list[list[int]]] = [[[] for _ in range(candidates)] for _ in range(batch)]
        self.drafted = [0] * batch  # since the last commit
        self.passes = 0

    def log_probs(self, prefix: Sequence[int]) -> Tensor:
        """(R, V) after `prefix`."""
        return log_probs(self.law, self.row_ids, tuple(prefix))

    def alike(self, slot: int) -> Hashable:
        return None

    def name(self, slot: int, row: int) -> str:
        return str(self.row_ids[row])

    def score(self, drafts: Tensor, slots: Sequence[int]) -> FakeScored:
        self.passes += 1
        prefixes = {}
        for b in slots:
            streams, own = self.streams[b], []
            for n, draft in enumerate(drafts[b].tolist()):
                own += [(*streams[n], *draft[:i]) for i in range(len(draft) + 1)]
                streams[n] = [*streams[n], *draft]
            self.drafted[b] += drafts.shape[2]
            prefixes[b] = own
        return FakeScored(self, prefixes, (drafts.shape[1], drafts.shape[2] + 1))

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        for b in slots:
            self.drafted[b] += 1
            for stream, token in zip(self.streams[b], tokens[b].tolist(), strict=True):
                stream.append(token)

    def commit(self, kept: Mapping[int, Kept]) -> None:
        for b, own in kept.items():
            stream = self.streams[b][own.winner]
            dropped = max(0, self.drafted[b] - own.accepted)
            stream = [*stream[: len(stream) - dropped], *own.tokens]
            self.streams[b], self.drafted[b] = [list(stream) for _ in range(self.candidates)], 0


@dataclass(frozen=True)
class FakeScored:
    """A pass of a fake scorer: the prefixes that each slot was scored after."""

    scorer: FakeScorer
    prefixes: Mapping[int, Sequence[tuple[int, ...]]]  # by slot, N * P of them
    shape: tuple[int, int]  # N, P

    def of(self, slots: Sequence[int]) -> Scores:
        prefixes = [prefix for b in slots for prefix in self.prefixes[b]]
        shape = len(slots), *self.shape  # (b, N, P)
        found = torch.stack([self.scorer.log_probs(prefix) for prefix in prefixes], dim=1)  # (R, b*N*P, V)
        rows = self.scorer.row_ids
        normaliser = torch.tensor([[scale(row, prefix) for prefix in prefixes] for row in rows])
        return Scores(found.unflatten(1, shape), normaliser.unflatten(1, shape))
