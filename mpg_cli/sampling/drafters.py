"""Drafters (docs/algorithm.md, "Drafters").

A drafter is a row of a model that steps token by token (`RowDrafter`; the reference, one persona, the merged
adapter, a smaller model) or an n-gram lookup (`LookupDrafter`). `SlotDrafters` gives every slot its own; a
slot without one decodes token by token.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from mpg_cli.sampling.noise import draft_stream
from mpg_cli.sampling.scorer import Kept, Scores, StepScorer, padded, to_device
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.targets import Seen, reshape

NGRAMS = (4, 3, 2)  # lengths of the suffix that a lookup searches for, the longest first

States = Sequence[SequenceState | None]  # one a slot


@dataclass(frozen=True)
class Draft:
    """Drafted tokens (B, N, T) and log q of each of them (B, N, T), for B slots.

    `sizes[b]` is the requested number of tokens of slot b, or the number that a lookup found; slots that
    draft nothing are left out. T is less than the largest when every sequence has drafted its end token.
    `full_log_q[b]` is log q of the whole vocabulary, (T, V), where a rule needs it; without it q has all its
    mass on the drafted token. `steps[b]` counts the forward passes of the drafter.
    """

    sizes: Mapping[int, int]
    tokens: Tensor
    log_q: Tensor
    full_log_q: Mapping[int, Tensor]
    steps: Mapping[int, int]

    @cached_property
    def lists(self) -> list[list[list[int]]]:
        """The tokens as B lists of N lists of T."""
        found: list[list[list[int]]] = self.tokens.tolist()
        return found

    @classmethod
    def empty(cls, slots: int, candidates: int = 1) -> Draft:
        """No token in any slot."""
        none = torch.zeros(slots, candidates, 0)  # (B, N, 0)
        return cls({}, none.long(), none, {}, {})

    def log_q_of(self, b: int, vocabulary: int) -> Tensor:
        """log q of slot b over the whole vocabulary, (T, V)."""
        if b in self.full_log_q:
            return self.full_log_q[b]
        one_hot = torch.full((self.tokens.shape[2], vocabulary), -torch.inf)
        return one_hot.scatter_(1, self.tokens[b, 0, :, None], 0.0)  # (T, V)


class Drafter(Protocol):
    """Drafts for the slots that use it."""

    def draft(self, states: States, sizes: Mapping[int, int]) -> Draft:
        """At most `sizes[b]` > 0 tokens for each candidate of slot b, nothing for other slots."""
        ...

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """End the round in these slots, of which some may not use this drafter."""
        ...

    def name(self, slot: int) -> str:
        """The name of the drafter of a slot, for messages."""
        ...


class SlotDrafters:
    """The drafter of each slot; `of[b]` is None where a slot decodes token by token."""

    def __init__(self, of: Sequence[Drafter | None]) -> None:
        self.of = list(of)

    @classmethod
    def all(cls, drafter: Drafter | None, slots: int) -> SlotDrafters:
        """One drafter for all slots."""
        return cls([drafter] * slots)

    def draft(self, states: States, sizes: Mapping[int, int]) -> Draft:
        """See `Drafter.draft`."""
        most = max((state.decoding.candidates for state in states if state is not None), default=1)
        users: dict[int, tuple[Drafter, dict[int, int]]] = {}
        for b, size in sizes.items():
            drafter = self.of[b]
            if drafter is not None and size > 0:
                users.setdefault(id(drafter), (drafter, {}))[1][b] = size
        drafts = [drafter.draft(states, own) for drafter, own in users.values()]
        return _merged(drafts, len(states), most) if len(drafts) != 1 else drafts[0]

    def name(self, slot: int) -> str:
        """See `Drafter.name`."""
        drafter = self.of[slot]
        return "no drafter" if drafter is None else drafter.name(slot)

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """See `Drafter.commit`."""
        users: dict[int, tuple[Drafter, dict[int, Kept]]] = {}
        for b, own in kept.items():
            drafter = self.of[b]
            if drafter is not None:
                users.setdefault(id(drafter), (drafter, {}))[1][b] = own
        for drafter, of_drafter in users.values():
            drafter.commit(of_drafter)


def _merged(drafts: Sequence[Draft], slots: int, candidates: int) -> Draft:
    """Drafts of different slots as one."""
    if not drafts:
        return Draft.empty(slots, candidates)
    longest = max(draft.tokens.shape[2] for draft in drafts)
    tokens = torch.zeros(slots, candidates, longest, dtype=torch.long)  # (B, N, T)
    log_q = torch.zeros(slots, candidates, longest)
    for draft in drafts:
        own, T = list(draft.sizes), draft.tokens.shape[2]
        tokens[own, :, :T] = draft.tokens[own]
        log_q[own, :, :T] = draft.log_q[own].to(log_q)
    return Draft(
        {b: size for draft in drafts for b, size in draft.sizes.items()},
        tokens,
        log_q,
        {b: full for draft in drafts for b, full in draft.full_log_q.items()},
        {b: steps for draft in drafts for b, steps in draft.steps.items()},
    )


class RowDrafter:
    """Drafts with a scorer of one row a slot, one forward pass a token for all slots together."""

    def __init__(self, scorer: StepScorer) -> None:
        self.scorer = scorer

    def draft(self, states: States, sizes: Mapping[int, int]) -> Draft:
        """Step until every slot has drafted `sizes[b]` tokens or an end token."""
        chunks = _chunks(states, sizes, self.scorer)
        B, N = len(states), max(part.candidates for part in chunks)
        own = list(sizes)
        tokens: list[Tensor] = []  # each (B, N)
        log_qs: list[Tensor] = []  # each (B, N)
        full: list[dict[int, Tensor]] = []  # (V,) of each slot whose rule needs all of q
        ended = torch.ones(B, N, dtype=torch.bool)
        for b in own:
            ended[b, : states_of(states, b).decoding.candidates] = False
        wanted = torch.zeros(B, 1, dtype=torch.long)
        wanted[own, 0] = torch.tensor(list(sizes.values()))
        nothing = torch.zeros(B, N, 0, dtype=torch.long)
        while not bool((ended := ended | (wanted <= len(tokens))).all()):
            scored = self.scorer.score(nothing, own)
            found = [part.step(scored.of(part.slots), states, tokens, ended) for part in chunks]
            full.append({b: log_q for _, _, rows in found for b, log_q in rows.items()})
            token, log_q = found[0][0], found[0][1]
            if token.shape != (B, N) or len(found) > 1:
                token, log_q = token.new_zeros(B, N), log_q.new_zeros(B, N)
                for part, (of_part, q, _) in zip(chunks, found, strict=True):
                    at = to_device(torch.tensor(part.slots), token.device)
                    token[at, : of_part.shape[1]], log_q[at, : of_part.shape[1]] = of_part, q
            tokens.append(token)
            log_qs.append(log_q)
            if token.device.type == "cpu":  # on a GPU this check would synchronise
                ids: list[list[int]] = token.tolist()
                for b in own:
                    ends = states_of(states, b).decoding.end_tokens
                    for n, id_ in enumerate(ids[b]):
                        if id_ in ends:
                            ended[b, n] = True
            self.scorer.push(token, own)
        if not tokens:
            return Draft.empty(B, N)
        of_slot = {b: [step[b] for step in full if b in step] for b in own}
        return Draft(
            dict(sizes),
            torch.stack(tokens, dim=2).cpu(),  # (B, N, T)
            torch.stack(log_qs, dim=2),  # (B, N, T)
            {b: torch.stack(rows) for b, rows in of_slot.items() if rows},  # (T, V)
            dict.fromkeys(own, len(tokens)),
        )

    def commit(self, kept: Mapping[int, Kept]) -> None:
        self.scorer.commit(kept)

    def name(self, slot: int) -> str:
        return self.scorer.name(slot, 0)


@dataclass(frozen=True)
class _Alike:
    """Slots whose next token is drafted together: they have the same law, rule and number of candidates."""

    slots: tuple[int, ...]
    decoding: Decoding
    seen: Seen | None

    @property
    def candidates(self) -> int:
        return self.decoding.candidates

    def step(
        self, scores: Scores, states: States, before: Sequence[Tensor], ended: Tensor
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """The next tokens (b, N), log q of each (b, N), and log q (V,) of each slot if the rule needs it."""
        log_q, normaliser = scores.log_probs[0], scores.normaliser[0]  # (b, N, 1, V), (b, N, 1)
        drafted = torch.zeros_like(normaliser[..., :0]).long()  # (b, N, 0)
        if before and self.decoding.draft_sampling.looks_back:
            drafted = torch.stack([step[list(self.slots), : self.candidates] for step in before], dim=2)
        seen = self.seen.on(log_q.device) if self.seen is not None else None
        log_q = reshape(log_q, normaliser, self.decoding.draft_sampling, seen, drafted)[:, :, 0]  # (b, N, V)
        noise = self._noise(states, len(before), ended[list(self.slots), : self.candidates], log_q)
        token = (log_q + noise).argmax(dim=-1)  # (b, N)
        needed = self.decoding.scheme.rule == "block"
        whole = dict(zip(self.slots, log_q[:, 0], strict=True)) if needed else {}
        return token, log_q.gather(-1, token[..., None])[..., 0], whole

    def _noise(self, states: States, offset: int, ended: Tensor, like: Tensor) -> Tensor:
        """Gumbel noise (b, N, V) of the drafted token at `offset`; 0 where `ended` (b, N)."""
        noise = torch.zeros_like(like)
        drafting = (~ended).nonzero().tolist()  # pairs of place and n
        of = [states_of(states, b) for b in self.slots]
        if self.decoding.scheme.rule == "exact":  # the noise that the target uses at this position
            places = [i for i, _ in drafting]
            positions = [(of[i].gumbels, len(of[i].tokens) + offset) for i in places]
            found = self.decoding.noise.at(positions, like)
            noise[:, 0].index_copy_(0, to_device(torch.tensor(places, dtype=torch.long), like.device), found)
            return noise
        for i, n in drafting:
            own, start = of[i], len(of[i].tokens)
            noise[i, n] = self.decoding.noise.once(own.noise, start, draft_stream(n), offset, like[i, n])
        return noise


def _chunks(states: States, sizes: Mapping[int, int], scorer: StepScorer) -> list[_Alike]:
    """The slots that draft, by what can be drafted together."""
    parts: dict[Hashable, list[int]] = {}
    for b in sizes:
        decoding = states_of(states, b).decoding
        parts.setdefault((decoding.alike[1:], scorer.alike(b)), []).append(b)
    found = []
    for slots in parts.values():
        decoding = states_of(states, slots[0]).decoding
        seen = None
        if decoding.sampling.looks_back:
            seen = Seen.of([states_of(states, b).counts for b in slots])
        found.append(_Alike(tuple(slots), decoding, seen))
    return found


def states_of(states: States, b: int) -> SequenceState:
    """The state of a slot that is in use."""
    state = states[b]
    assert state is not None
    return state


class LookupDrafter:
    """N-gram lookup: proposes the tokens that followed an earlier occurrence of the latest ones.

    Matches the longest suffix (lengths NGRAMS) that occurs earlier in the prompt or reply, at its latest
    occurrence. q has all its mass on the proposal, so the rule must be lossless for any q.
    """

    def __init__(self) -> None:
        self._texts: dict[int, _Indexed] = {}  # by slot

    def insert(self, slot: int, prompt: Sequence[int]) -> None:
        """Start a new sequence, with this prompt, in a slot."""
        self._texts[slot] = _Indexed(prompt)

    def draft(self, states: States, sizes: Mapping[int, int]) -> Draft:
        """Slots with fewer proposed tokens are padded with zeros."""
        found: list[list[int]] = [[] for _ in states]
        for b, size in sizes.items():
            state = states_of(states, b)
            if state.decoding.scheme.rule == "threshold":
                raise ValueError("rule threshold needs a drafter that can propose every token")
            found[b] = self._texts[b].propose(state.tokens, size)
        tokens = padded(found)[:, None]  # (B, 1, T)
        return Draft({b: len(found[b]) for b in sizes}, tokens, torch.zeros(tokens.shape), {}, {})

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """Nothing to do: `draft` reads the committed tokens from the states."""

    def name(self, slot: int) -> str:
        return "the lookup"


class _Indexed:
    """Prompt and reply of one sequence, with the place of each n-gram."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt, self._text = len(prompt), list(prompt)
        self._indexed = 0  # `_after` has the n-grams that end before this
        self._after: dict[tuple[int, ...], int] = {}  # n-gram -> where it ended

    def propose(self, reply: Sequence[int], size: int) -> list[int]:
        """The `size` tokens after the latest occurrence of the last ones; empty without an occurrence."""
        text, after = self._text, self._after
        text += reply[len(text) - self._prompt :]
        for end in range(self._indexed, len(text)):
            for n in NGRAMS:
                if n <= end:
                    after[tuple(text[end - n : end])] = end
        self._indexed = len(text)
        for n in NGRAMS:
            begin = after.get(tuple(text[-n:])) if n <= len(text) else None
            if begin is not None:
                # At the end of the text the continuation repeats itself.
                period = len(text) - begin
                return [text[begin + i % period] for i in range(size)]
        return []
