"""What proposes a chunk (algorithm page, section 3): a row of a model that steps token by token, or a lookup.

Which row that is (reference, one persona, the merged adapter, a smaller model) is the loader's business;
here it is an engine with R = 1. No drafter at all is a chunk size of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mpg_cli.sampling.engine import Engine
from mpg_cli.sampling.tensors import padded

NGRAMS = (4, 3, 2)  # lengths of the suffix that a lookup looks for, the longest first


@dataclass(frozen=True)
class Draft:
    """Drafted tokens (B, N, T) and log q of each of them (B, N, T).

    `sizes[b]` is the gamma that sequence b asked for, or what a lookup found; T is less than the largest
    when every sequence has drafted its end token. `law` is all of q, (B, N, T, V), where a rule needs it;
    None where q has all its mass on the drafted token.
    """

    sizes: tuple[int, ...]
    tokens: Tensor
    log_q: Tensor
    law: Tensor | None = None

    def log_law(self, b: int, vocabulary: int) -> Tensor:
        """log q of sequence b over the whole vocabulary, (T, V)."""
        if self.law is not None:
            return self.law[b, 0]
        certain = torch.full((self.tokens.shape[2], vocabulary), -torch.inf)
        return certain.scatter_(1, self.tokens[b, 0, :, None], 0.0)  # (T, V)


class StepEngine(Engine, Protocol):
    """An engine that can hold drafted tokens one by one."""

    def push(self, tokens: Tensor) -> None:
        """Hold one more drafted token for each sequence and candidate, (B, N); fed by the next `score`."""
        ...


class RowDrafter:
    """Steps an engine of one row."""

    def __init__(self, engine: StepEngine) -> None:
        if engine.rows != 1:
            raise ValueError("a drafter has one row")
        self.engine = engine

    def next(self) -> tuple[Tensor, Tensor]:
        """log q of the next token after everything held so far, (B, N, V), not yet penalised or warped, and
        the logsumexp of its logits (B, N).
        """
        empty = torch.zeros(self.engine.batch, self.engine.candidates, 0, dtype=torch.long)
        scores = self.engine.score(empty)
        return scores.log_probs[0, :, :, 0], scores.normaliser[0, :, :, 0]  # of (1, B, N, 1, V), (1, B, N, 1)

    def push(self, tokens: Tensor) -> None:
        """Hold one more drafted token for each sequence and candidate, (B, N)."""
        self.engine.push(tokens)

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """The round is over: forget the last `drop` drafted tokens of each sequence, then append `tokens`."""
        self.engine.commit(drop, tokens, winner)


class LookupDrafter:
    """Proposes what followed the last words when they were said before, in the prompt or in the reply.

    The longest suffix of `NGRAMS` tokens that was there already is looked for; of several places the latest
    counts. q has all its mass on the proposal, so the rule must be lossless for any q.
    """

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self._texts = [list(prompt) for prompt in prompts]
        self._indexed = [0] * len(prompts)  # every n-gram that ends before this is in `_after`
        self._after: list[dict[tuple[int, ...], int]] = [{} for _ in prompts]  # n-gram -> where it ended

    def draft(self, sizes: Sequence[int]) -> Draft:
        """At most `sizes[b]` tokens for each sequence; where fewer are found, T is filled up with zeros."""
        found = [self._propose(b, size) for b, size in enumerate(sizes)]
        tokens = padded(found)[:, None]  # (B, 1, T)
        return Draft(tuple(map(len, found)), tokens, torch.zeros(tokens.shape))

    def replace(self, b: int, prompt: Sequence[int]) -> None:
        """Forget sequence b and begin another one."""
        self._texts[b], self._indexed[b], self._after[b] = list(prompt), 0, {}

    def select(self, places: Sequence[int]) -> None:
        """Go on with the sequences in these places; a copy stands still until another takes its place."""
        self._texts = [self._texts[b] for b in places]
        self._indexed = [self._indexed[b] for b in places]
        self._after = [self._after[b] for b in places]

    def append(self, b: int, tokens: Sequence[int]) -> None:
        """Tokens that were committed to sequence b."""
        self._texts[b] += tokens

    def _propose(self, b: int, size: int) -> list[int]:
        text, after = self._texts[b], self._after[b]
        for end in range(self._indexed[b], len(text)):
            for n in NGRAMS:
                if n <= end:
                    after[tuple(text[end - n : end])] = end
        self._indexed[b] = len(text)
        for n in NGRAMS:
            begin = after.get(tuple(text[-n:])) if n <= len(text) else None
            if begin is not None:
                # A continuation that reaches the end of the text goes on with itself.
                period = len(text) - begin
                return [text[begin + place % period] for place in range(size)]
        return []
