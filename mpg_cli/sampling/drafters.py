"""Draft sources and the adaptive chunk size (docs/algorithm.md, "Drafters", "Chunk size").

A draft source is a row of a model that steps token by token (`RowDrafter`; the reference, one persona, the
merged adapter, a smaller model) or an n-gram lookup (`LookupDrafter`); with a `NullDrafter` decoding goes
token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mpg_cli.sampling.noise import draft_stream
from mpg_cli.sampling.scorer import StepScorer, padded, to_device
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.stats import Stats
from mpg_cli.sampling.targets import Seen, reshape

NGRAMS = (4, 3, 2)  # lengths of the suffix that a lookup searches for, the longest first
PRIOR_RATE, PRIOR_EVALUATED = 0.85, 8  # prior acceptance rate, and its weight in evaluated tokens
MAX_ADAPTIVE = 16  # tokens; the estimate degrades for longer chunks, which end at one rejection

D = TypeVar("D")


@dataclass(frozen=True)
class Draft:
    """Drafted tokens (B, N, T) and log q of each of them (B, N, T).

    `sizes[b]` is the requested number of tokens of sequence b, or the number that a lookup found; T is less
    than the largest when every sequence has drafted its end token. `full_log_q` is log q of the whole
    vocabulary, (B, N, T, V), where a rule needs it; None where q has all its mass on the drafted token.
    """

    sizes: tuple[int, ...]
    tokens: Tensor
    log_q: Tensor
    full_log_q: Tensor | None = None
    steps: int = 0  # forward passes of the drafter

    @classmethod
    def empty(cls, batch: int, candidates: int) -> Draft:
        """No token for any sequence."""
        none = torch.zeros(batch, candidates, 0)  # (B, N, 0)
        return cls((0,) * batch, none.long(), none)

    def log_q_of(self, b: int, vocabulary: int) -> Tensor:
        """log q of sequence b over the whole vocabulary, (T, V)."""
        if self.full_log_q is not None:
            return self.full_log_q[b, 0]
        one_hot = torch.full((self.tokens.shape[2], vocabulary), -torch.inf)
        return one_hot.scatter_(1, self.tokens[b, 0, :, None], 0.0)  # (T, V)


class Drafter(Protocol):
    """Drafts for B sequences: `insert` passes their prompts, `commit` the tokens that follow."""

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], decoding: Decoding, seen: Seen | None
    ) -> Draft:
        """At most `sizes[b]` tokens for each sequence and candidate; `seen` are the penalties' tokens."""
        ...

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """End the round: for each sequence, drop the last `drop` tokens (there may be fewer), then append
        `tokens`; of the drafted tokens before them, those of the candidate `winner` stay.
        """
        ...

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Start new sequences, with these prompts, in these slots."""
        ...

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences of these slots, in this order; a slot given twice is duplicated."""
        ...

    def clone(self: D, batch: int) -> D:
        """An empty drafter of the same kind for `batch` sequences, in which prompts are prefilled ahead."""
        ...

    def copy(self: D, other: D, source: Sequence[int], slots: Sequence[int]) -> None:
        """Copy the sequences in the slots `source` of a clone into these slots."""
        ...


class NullDrafter:
    """No draft: every pass commits one token drawn from the target."""

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], decoding: Decoding, seen: Seen | None
    ) -> Draft:
        return Draft.empty(len(states), decoding.scheme.threshold.candidates)

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """Nothing to do, here and below: there is no state."""

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None: ...

    def select(self, slots: Sequence[int]) -> None: ...

    def clone(self, batch: int) -> NullDrafter:
        return self

    def copy(self, other: NullDrafter, source: Sequence[int], slots: Sequence[int]) -> None: ...


class RowDrafter:
    """Drafts with a scorer of one row, one forward pass a token."""

    def __init__(self, scorer: StepScorer) -> None:
        if scorer.rows != 1:
            raise ValueError("a drafter has one row")
        self.scorer = scorer

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], decoding: Decoding, seen: Seen | None
    ) -> Draft:
        """Step until every sequence has drafted `sizes[b]` tokens or an end token."""
        B, N = self.scorer.batch, self.scorer.candidates
        tokens: list[Tensor] = []  # each (B, N)
        log_qs: list[Tensor] = []  # each (B, N)
        full: list[Tensor] = []  # each (B, N, V), where the rule needs all of q
        ended = torch.zeros(B, N, dtype=torch.bool)
        wanted = torch.tensor(sizes)[:, None]  # (B, 1)
        ends = torch.tensor(sorted(decoding.end_tokens), dtype=torch.long)
        while not bool((ended := ended | (wanted <= len(tokens))).all()):
            scores = self.scorer.score(torch.zeros(B, N, 0, dtype=torch.long))
            log_q, normaliser = scores.log_probs[0], scores.normaliser[0]  # (B, N, 1, V), (B, N, 1)
            if seen is not None and not tokens:
                seen = seen.on(log_q.device)
            before = torch.stack(tokens, dim=2) if tokens else torch.zeros_like(normaliser[..., :0]).long()
            log_q = reshape(log_q, normaliser, decoding.draft_sampling, seen, before)[:, :, 0]  # (B, N, V)
            token = (log_q + _noise(states, decoding, len(tokens), ended, log_q)).argmax(dim=-1)  # (B, N)
            log_qs.append(log_q.gather(-1, token[..., None])[..., 0])  # (B, N)
            if decoding.scheme.rule == "block":
                full.append(log_q)
            tokens.append(token)
            if token.device.type == "cpu":  # on a GPU this check would synchronise
                ended |= torch.isin(token, ends)
            self.scorer.push(token)
        if not tokens:
            return Draft.empty(B, N)
        return Draft(
            tuple(sizes),
            torch.stack(tokens, dim=2).cpu(),  # (B, N, T)
            torch.stack(log_qs, dim=2),  # (B, N, T)
            torch.stack(full, dim=2) if full else None,  # (B, N, T, V)
            steps=len(tokens),
        )

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        self.scorer.commit(drop, tokens, winner)

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        self.scorer.insert(slots, [[prompt] for prompt in prompts])

    def select(self, slots: Sequence[int]) -> None:
        self.scorer.select(slots)

    def clone(self, batch: int) -> RowDrafter:
        return RowDrafter(self.scorer.clone(batch))

    def copy(self, other: RowDrafter, source: Sequence[int], slots: Sequence[int]) -> None:
        self.scorer.copy(other.scorer, source, slots)


def _noise(
    states: Sequence[SequenceState], decoding: Decoding, offset: int, ended: Tensor, like: Tensor
) -> Tensor:
    """Gumbel noise (B, N, V) for the drafted token at `offset` of every candidate; 0 where `ended` (B, N)."""
    noise = torch.zeros_like(like)
    drafting = (~ended).nonzero().tolist()  # pairs of b and n
    if decoding.scheme.rule == "exact":  # the noise that the target uses at this position
        slots = [b for b, _ in drafting]
        found = decoding.noise.at([(states[b].gumbels, len(states[b].tokens) + offset) for b in slots], like)
        noise[:, 0].index_copy_(0, to_device(torch.tensor(slots, dtype=torch.long), like.device), found)
        return noise
    for b, n in drafting:
        state = states[b]
        noise[b, n] = decoding.noise.once(state.noise, len(state.tokens), draft_stream(n), offset, like[b, n])
    return noise


class LookupDrafter:
    """N-gram lookup: proposes the tokens that followed an earlier occurrence of the latest ones.

    Matches the longest suffix (lengths NGRAMS) that occurs earlier in the prompt or reply, at its latest
    occurrence. q has all its mass on the proposal, so the rule must be lossless for any q.
    """

    def __init__(self, batch: int) -> None:
        self._prompts = [0] * batch  # lengths
        self._texts: list[list[int]] = [[] for _ in range(batch)]  # prompt and reply
        self._indexed = [0] * batch  # `_after` has the n-grams that end before this
        self._after: list[dict[tuple[int, ...], int]] = [{} for _ in range(batch)]  # n-gram -> where it ended

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], decoding: Decoding, seen: Seen | None
    ) -> Draft:
        """Sequences with fewer proposed tokens are padded with zeros."""
        if decoding.scheme.rule == "threshold":
            raise ValueError("rule threshold needs a drafter that can propose every token")
        found = [self._propose(b, states[b].tokens, size) if size else [] for b, size in enumerate(sizes)]
        tokens = padded(found)[:, None]  # (B, 1, T)
        return Draft(tuple(map(len, found)), tokens, torch.zeros(tokens.shape))

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """Nothing to do: `draft` reads the committed tokens from the states."""

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        for b, prompt in zip(slots, prompts, strict=True):
            self._prompts[b], self._texts[b] = len(prompt), list(prompt)
            self._indexed[b], self._after[b] = 0, {}

    def select(self, slots: Sequence[int]) -> None:
        """A duplicate shares its text until another sequence is inserted into its slot."""
        self._prompts = [self._prompts[b] for b in slots]
        self._texts = [self._texts[b] for b in slots]
        self._indexed = [self._indexed[b] for b in slots]
        self._after = [self._after[b] for b in slots]

    def clone(self, batch: int) -> LookupDrafter:
        return LookupDrafter(batch)

    def copy(self, other: LookupDrafter, source: Sequence[int], slots: Sequence[int]) -> None:
        self.insert(slots, [other._texts[b] for b in source])

    def _propose(self, b: int, reply: Sequence[int], size: int) -> list[int]:
        text, after = self._texts[b], self._after[b]
        text += reply[len(text) - self._prompts[b] :]
        for end in range(self._indexed[b], len(text)):
            for n in NGRAMS:
                if n <= end:
                    after[tuple(text[end - n : end])] = end
        self._indexed[b] = len(text)
        for n in NGRAMS:
            begin = after.get(tuple(text[-n:])) if n <= len(text) else None
            if begin is not None:
                # At the end of the text the continuation repeats itself.
                period = len(text) - begin
                return [text[begin + i % period] for i in range(size)]
        return []


# -- the adaptive chunk size -----------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Cost model of a round, in any unit of time: gamma * (step + position) + score.

    `step` is the cost of a drafter step, `score` of a score pass over one position, `position` of each
    further position.
    """

    step: float = 1.0
    score: float = 1.6
    position: float = 0.1

    def of_round(self, gamma: int) -> float:
        """Cost of a round that drafts gamma tokens."""
        return gamma * (self.step + self.position) + self.score

    def of_token(self, gamma: int, rates: Sequence[float]) -> float:
        """Expected cost of a committed token."""
        return self.of_round(gamma) / expected_committed(gamma, rates)


def expected_committed(gamma: int, rates: Sequence[float]) -> float:
    """E[committed tokens a pass], 1 + sum over l of P(the first l drafted tokens are accepted).

    `rates[l-1]` is the probability that token l is accepted given that those before it are; the last rate
    holds for all further tokens.
    """
    total = reached = 1.0
    for i in range(gamma):
        reached *= rates[min(i, len(rates) - 1)]
        total += reached
    return total


def adaptive_chunk_size(stats: Stats, cost: Cost) -> int:
    """gamma of the next round, from the acceptance so far and a prior worth PRIOR_EVALUATED tokens."""
    accepted = stats.accepted + PRIOR_RATE * PRIOR_EVALUATED
    return best_chunk_size(round(100 * accepted / (stats.evaluated + PRIOR_EVALUATED)), cost)


@lru_cache(maxsize=1024)
def best_chunk_size(percent: int, cost: Cost) -> int:
    """The gamma in 1 .. MAX_ADAPTIVE with the least cost a token at this acceptance rate; ties: the least."""
    return min(range(1, MAX_ADAPTIVE + 1), key=lambda gamma: cost.of_token(gamma, (percent / 100,)))
