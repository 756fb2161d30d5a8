"""What proposes a chunk, and how long a chunk pays (docs/algorithm.md, "Drafters", "Chunk size").

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
PRIOR_RATE, PRIOR_EVALUATED = 0.85, 8  # the acceptance rate before any draft, and the tokens it is worth
LONGEST = 16  # of an adaptive chunk; beyond it the rate tells little: one rejection ends a chunk

D = TypeVar("D")


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
    steps: int = 0  # passes of the drafter's row

    @classmethod
    def empty(cls, batch: int, candidates: int) -> Draft:
        """No token for any sequence."""
        none = torch.zeros(batch, candidates, 0)  # (B, N, 0)
        return cls((0,) * batch, none.long(), none)

    def log_law(self, b: int, vocabulary: int) -> Tensor:
        """log q of sequence b over the whole vocabulary, (T, V)."""
        if self.law is not None:
            return self.law[b, 0]
        certain = torch.full((self.tokens.shape[2], vocabulary), -torch.inf)
        return certain.scatter_(1, self.tokens[b, 0, :, None], 0.0)  # (T, V)


class Drafter(Protocol):
    """Drafts for B sequences. It knows each one's prompt by `insert`, and what follows by `commit`."""

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], how: Decoding, seen: Seen | None
    ) -> Draft:
        """At most `sizes[b]` tokens for each sequence and candidate; `seen` are the penalties' tokens."""
        ...

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """The round is over: for each sequence, forget its last `drop` tokens (that no more were drafted is
        fine), then append `tokens`; what it drafted before them is that of the candidate `winner`.
        """
        ...

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Begin other sequences in these slots."""
        ...

    def select(self, slots: Sequence[int]) -> None:
        """Go on with the sequences in these slots; one that is named twice is there twice."""
        ...

    def clone(self: D, batch: int) -> D:
        """Another of its kind for so many sequences, without any yet: prompts are read there ahead."""
        ...

    def copy(self: D, other: D, theirs: Sequence[int], slots: Sequence[int]) -> None:
        """Begin in these slots the sequences that a clone holds in its slots `theirs`."""
        ...


class NullDrafter:
    """No draft: every pass commits one token of the target."""

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], how: Decoding, seen: Seen | None
    ) -> Draft:
        return Draft.empty(len(states), how.scheme.threshold.candidates)

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """It has no state, here and below."""

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None: ...

    def select(self, slots: Sequence[int]) -> None: ...

    def clone(self, batch: int) -> NullDrafter:
        return self

    def copy(self, other: NullDrafter, theirs: Sequence[int], slots: Sequence[int]) -> None: ...


class RowDrafter:
    """A scorer of one row, stepped token by token."""

    def __init__(self, scorer: StepScorer) -> None:
        if scorer.rows != 1:
            raise ValueError("a drafter has one row")
        self.scorer = scorer

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], how: Decoding, seen: Seen | None
    ) -> Draft:
        """Steps until every sequence has its draft or has drafted its end."""
        B, N = self.scorer.batch, self.scorer.candidates
        tokens: list[Tensor] = []  # each (B, N)
        log_qs: list[Tensor] = []  # each (B, N)
        laws: list[Tensor] = []  # each (B, N, V), where the rule looks at all of q
        ended = torch.zeros(B, N, dtype=torch.bool)
        wanted = torch.tensor(sizes)[:, None]  # (B, 1)
        ends = torch.tensor(sorted(how.end_tokens), dtype=torch.long)
        while not bool((ended := ended | (wanted <= len(tokens))).all()):
            scores = self.scorer.score(torch.zeros(B, N, 0, dtype=torch.long))
            log_q, normaliser = scores.log_probs[0], scores.normaliser[0]  # (B, N, 1, V), (B, N, 1)
            if seen is not None and not tokens:
                seen = seen.on(log_q.device)
            before = torch.stack(tokens, dim=2) if tokens else torch.zeros_like(normaliser[..., :0]).long()
            log_q = reshape(log_q, normaliser, how.draft_sampling, seen, before)[:, :, 0]  # (B, N, V)
            token = (log_q + _noise(states, how, len(tokens), ended, log_q)).argmax(dim=-1)  # (B, N)
            log_qs.append(log_q.gather(-1, token[..., None])[..., 0])  # (B, N)
            if how.scheme.rule == "block":
                laws.append(log_q)
            tokens.append(token)
            if token.device.type == "cpu":  # elsewhere a look would wait for all work before it
                ended |= torch.isin(token, ends)
            self.scorer.push(token)
        if not tokens:
            return Draft.empty(B, N)
        return Draft(
            tuple(sizes),
            torch.stack(tokens, dim=2).cpu(),  # (B, N, T)
            torch.stack(log_qs, dim=2),  # (B, N, T)
            torch.stack(laws, dim=2) if laws else None,  # (B, N, T, V)
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

    def copy(self, other: RowDrafter, theirs: Sequence[int], slots: Sequence[int]) -> None:
        self.scorer.copy(other.scorer, theirs, slots)


def _noise(
    states: Sequence[SequenceState], how: Decoding, offset: int, ended: Tensor, like: Tensor
) -> Tensor:
    """Noise (B, N, V) of one drafted token of every candidate; none where `ended` (B, N)."""
    noise = torch.zeros_like(like)
    drafting = (~ended).nonzero().tolist()  # pairs of b and n
    if how.scheme.rule == "exact":  # the target's noise
        slots = [b for b, _ in drafting]
        found = how.noise.at([(states[b].gumbels, len(states[b].tokens) + offset) for b in slots], like)
        noise[:, 0].index_copy_(0, to_device(torch.tensor(slots, dtype=torch.long), like.device), found)
        return noise
    for b, n in drafting:
        state = states[b]
        noise[b, n] = how.noise.once(state.noise, len(state.tokens), draft_stream(n), offset, like[b, n])
    return noise


class LookupDrafter:
    """An n-gram lookup: proposes the tokens that followed an earlier occurrence of the last ones.

    The longest suffix of `NGRAMS` tokens that prompt or reply have already counts, and of several places the
    latest. q has all its mass on the proposal, so the rule must be lossless for any q.
    """

    def __init__(self, batch: int) -> None:
        self._prompts = [0] * batch  # lengths
        self._texts: list[list[int]] = [[] for _ in range(batch)]  # prompt and reply
        self._indexed = [0] * batch  # every n-gram that ends before this is in `_after`
        self._after: list[dict[tuple[int, ...], int]] = [{} for _ in range(batch)]  # n-gram -> where it ended

    def draft(
        self, states: Sequence[SequenceState], sizes: Sequence[int], how: Decoding, seen: Seen | None
    ) -> Draft:
        """Where a lookup finds fewer tokens, T is filled up with zeros."""
        if how.scheme.rule == "threshold":
            raise ValueError("rule threshold needs a drafter that can propose every token")
        found = [self._propose(b, states[b].tokens, size) if size else [] for b, size in enumerate(sizes)]
        tokens = padded(found)[:, None]  # (B, 1, T)
        return Draft(tuple(map(len, found)), tokens, torch.zeros(tokens.shape))

    def commit(self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int]) -> None:
        """The states have the reply's tokens."""

    def insert(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        for b, prompt in zip(slots, prompts, strict=True):
            self._prompts[b], self._texts[b] = len(prompt), list(prompt)
            self._indexed[b], self._after[b] = 0, {}

    def select(self, slots: Sequence[int]) -> None:
        """A copy shares its text until another sequence is inserted in its slot."""
        self._prompts = [self._prompts[b] for b in slots]
        self._texts = [self._texts[b] for b in slots]
        self._indexed = [self._indexed[b] for b in slots]
        self._after = [self._after[b] for b in slots]

    def clone(self, batch: int) -> LookupDrafter:
        return LookupDrafter(batch)

    def copy(self, other: LookupDrafter, theirs: Sequence[int], slots: Sequence[int]) -> None:
        self.insert(slots, [other._texts[b] for b in theirs])

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
                # A continuation that reaches the end of the text goes on with itself.
                period = len(text) - begin
                return [text[begin + place % period] for place in range(size)]
        return []


# -- how long a chunk pays -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a round costs, in any unit of time: gamma * (step + position) + score.

    `step` is a step of the drafter, `score` a score pass over one position, `position` each further one.
    """

    step: float = 1.0
    score: float = 1.6
    position: float = 0.1

    def of_round(self, gamma: int) -> float:
        """The time of a round that drafts gamma tokens."""
        return gamma * (self.step + self.position) + self.score

    def of_token(self, gamma: int, rates: Sequence[float]) -> float:
        """The time of a committed token."""
        return self.of_round(gamma) / expected_committed(gamma, rates)


def expected_committed(gamma: int, rates: Sequence[float]) -> float:
    """E[committed tokens a pass], 1 + sum over l of P(the first l drafted tokens are accepted).

    `rates[l-1]` is the chance that token l is accepted if those before it are; the last one holds beyond.
    """
    total = reached = 1.0
    for place in range(gamma):
        reached *= rates[min(place, len(rates) - 1)]
        total += reached
    return total


def adaptive_chunk_size(stats: Stats, cost: Cost) -> int:
    """The gamma of the next round, by the acceptance so far (with a prior that a few rounds outweigh)."""
    accepted = stats.accepted + PRIOR_RATE * PRIOR_EVALUATED
    return best_chunk_size(round(100 * accepted / (stats.evaluated + PRIOR_EVALUATED)), cost)


@lru_cache(maxsize=1024)
def best_chunk_size(percent: int, cost: Cost) -> int:
    """The gamma in 1 .. LONGEST whose token costs least at this acceptance rate, the shortest of equals."""
    return min(range(1, LONGEST + 1), key=lambda gamma: cost.of_token(gamma, (percent / 100,)))
