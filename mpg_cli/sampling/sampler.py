"""Speculative Chunk-level Rejection sampling: draft, score, verify, commit (docs/algorithm.md, "A round").

    page                here
    p, log p            log_p       the target, penalised, warped and normalised, (b, N, T+1, V)
    q, log q            log_q       the drafter's, of the drafted tokens, (B, N, T)
    c                   draft       the drafted tokens of N candidates, (B, N, T), T = W * gamma
    N, W, gamma                     Threshold.candidates, Threshold.ahead, Scheme.chunk_size (or adaptive)
    g                   gumbels     Gumbel noise of a reply position, (V,)
    a_l, m_l, u_l       a, m, u     log-ratios, thresholds, uniforms of one chunk
    L                   accepted    length of the accepted prefix

Source: R. Chen et al., Multi-Personality Generation of LLMs at Decoding-time, WSDM 2026, of which the
round, the parallel candidates and the window of thresholds are taken; the coupled noise of rule `exact`,
the nested salvage of rule `threshold` and the token of the target after the accepted prefix are ours. Rule
`block` is block verification, Sun et al., arXiv 2403.10444.

Slots are independent: each has its own blend, weights, target, sampling and rule. Those that differ in
weights only are verified together, as b of the B slots.

Every pass commits at least one token, drawn from the target that the pass has scored. All rules sample the
same distribution, the token-normalised target.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeAlias

import torch
from torch import Tensor

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.chunk_size import Acceptance, adaptive_chunk_size
from mpg_cli.sampling.drafters import Draft, SlotDrafters, states_of
from mpg_cli.sampling.scorer import Kept, Scored, Scorer, Scores, padded, to_device
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.stats import Round, Seconds
from mpg_cli.sampling.targets import (
    Seen,
    combine,
    contributions,
    extrapolates,
    penalise,
    plausible,
    reshape,
)
from mpg_cli.sampling.verification import Verification, coupled_positions, verify

ChunkSizes: TypeAlias = Callable[[Mapping[int, SequenceState]], Mapping[int, int]]  # gamma by slot


def own_sizes(states: Mapping[int, SequenceState]) -> dict[int, int]:
    """gamma of each sequence, from its own rounds if it is adaptive."""
    return {b: _own_size(state) for b, state in states.items()}


def _own_size(state: SequenceState) -> int:
    size, stats = state.decoding.scheme.chunk_size, state.stats
    if size is not None:
        return size
    return adaptive_chunk_size(Acceptance().plus(stats.accepted, stats.evaluated), state.decoding.cost)


class Sampler:
    """Rounds over the sequences in B slots, whose prompts scorer and drafters have prefilled.

    `states` has the sequence of each slot, None where there is none; the caller may replace an entry between
    rounds.
    """

    def __init__(
        self,
        scorer: Scorer,
        drafters: SlotDrafters,
        states: Sequence[SequenceState | None],
        sizes: ChunkSizes | None = None,
    ) -> None:
        """`sizes` gives gamma for each running slot; by default the requested one or, if that is adaptive,
        one that depends on the rounds of its own sequence only, so that a reply is the same in any batch.
        """
        self.scorer, self.drafters, self.states = scorer, drafters, list(states)
        self._chunk_sizes = sizes or own_sizes

    def run(self) -> Iterator[Round]:
        """Run rounds until every sequence is finished; a caller may finish one early.

        Raises the error of the first sequence that fails.
        """
        while any(state is not None and state.running for state in self.states):
            yield from self.round().values()
            for state in self.states:
                if state is not None and state.failure is not None:
                    raise state.failure

    def round(self) -> dict[int, Round]:
        """One round: a `Round` for each sequence that was running before it, by slot; one that fails has
        none, and its error is the `failure` of its state.
        """
        began = perf_counter()
        live = [b for b, state in enumerate(self.states) if state is not None and state.running]

        # 1. Draft.
        sizes = self._sizes(live)
        draft = self.drafters.draft(self.states, {b: size for b, size in sizes.items() if size})  # (B, N, T)
        sizes = {b: min(draft.sizes.get(b, 0), sizes[b]) for b in live}
        drafted = perf_counter()

        # 2. Score T+1 positions of all slots in one pass.
        scored = self.scorer.score(draft.tokens, live)
        parts = [self._part(slots, scored) for slots in self._alike(live)]
        for part in parts:
            like = part.scores.log_probs
            if part.decoding.scheme.rule == "exact" and like.is_cuda:  # while the GPU computes
                part.decoding.noise.make(coupled_positions(part.states, draft, sizes), like)
        self._check(parts, draft)
        computed = perf_counter()

        # 3. Verify the draft against the target p.
        rounds: dict[int, Round] = {}
        for part in parts:
            log_p = part.target(draft)  # (b, N, T+1, V)
            self._check_target(part, log_p)
            running = {b: sizes[b] for b, state in part.states.items() if state.running}
            found = verify(part.states, part.places, draft, log_p, running, part.decoding)
            rounds |= self._rounds(part, found, draft, sizes)

        # 4. Commit the accepted prefix and the token after it.
        self._commit(rounds)
        verified = perf_counter()
        share = 1 / max(1, len(live))
        seconds = Seconds(
            draft=(drafted - began) * share,
            score=(computed - drafted) * share,
            verify=(verified - computed) * share,
        )
        return {b: self._counted(b, rounds[b], seconds) for b in live if b in rounds}

    # -- sizes and parts -------------------------------------------------------------------------

    def _sizes(self, live: Sequence[int]) -> dict[int, int]:
        """Tokens to draft: W * gamma, or what the limit leaves."""
        states = {b: states_of(self.states, b) for b in live}
        chunks = self._chunk_sizes(states)
        return {
            b: min(chunks[b] * state.decoding.scheme.threshold.ahead, state.room - 1)
            for b, state in states.items()
        }

    def _alike(self, live: Sequence[int]) -> list[list[int]]:
        """The slots by what can be verified together."""
        found: dict[Hashable, list[int]] = {}
        for b in live:
            key = states_of(self.states, b).decoding.alike, self.scorer.alike(b)
            found.setdefault(key, []).append(b)
        return list(found.values())

    def _part(self, slots: list[int], scored: Scored) -> _Part:
        return _Part({b: states_of(self.states, b) for b in slots}, scored.of(slots))

    # -- failures --------------------------------------------------------------------------------

    def _check(self, parts: Sequence[_Part], draft: Draft) -> None:
        """Fail the sequences with a row, or a drafter, that has returned NaN."""
        for part in parts:
            bad: list[list[bool]] = part.scores.bad.T.tolist()  # (b, R)
            for (b, state), rows in zip(part.states.items(), bad, strict=True):
                if any(rows):
                    state.failure = not_a_number(self.scorer.name(b, rows.index(True)))
        own = list(draft.sizes)
        wrong: list[bool] = draft.log_q[own].isnan().flatten(1).any(dim=1).tolist()  # (b,)
        for b in (b for b, is_wrong in zip(own, wrong, strict=True) if is_wrong):
            state = states_of(self.states, b)
            state.failure = state.failure or not_a_number(self.drafters.name(b))

    def _check_target(self, part: _Part, log_p: Tensor) -> None:
        """Fail the sequences in whose target no token is left."""
        empty: list[bool] = log_p[..., 0].isnan().flatten(1).any(dim=1).tolist()  # (b,)
        for state, is_empty in zip(part.states.values(), empty, strict=True):
            if is_empty and state.failure is None:
                state.failure = NumericsError(
                    "no token has any probability left in the blend",
                    hint="the experts exclude each other, or a penalty is far too large",
                )

    # -- rounds ----------------------------------------------------------------------------------

    def _rounds(
        self, part: _Part, found: Mapping[int, Verification], draft: Draft, sizes: Mapping[int, int]
    ) -> dict[int, Round]:
        """The round of every verified sequence, without its timing."""
        if not found:
            return {}
        states = part.states
        committed = {b: states[b].decoding.until_end(own.tokens, states[b].room) for b, own in found.items()}
        shares = part.contributions(committed, found)
        rounds = {}
        for (b, own), of_tokens in zip(found.items(), shares, strict=True):
            decoding = states[b].decoding
            drafts = draft.lists[b][: decoding.candidates]  # N lists of T
            lengths = [len(decoding.until_end(chunk, sizes[b])) for chunk in drafts]
            rounds[b] = Round(
                sequence=states[b].sequence,
                start=len(states[b].tokens),
                draft=tuple(own.draft),
                evaluated=own.evaluated,
                accepted=own.accepted,
                tokens=tuple(committed[b]),
                contributions=tuple(map(tuple, of_tokens)),
                seconds=Seconds(),
                drafted=sum(lengths),
                steps=min(draft.steps.get(b, 0), max(lengths)),
                candidate=own.candidate,
                thresholds=own.thresholds,
                log_ratios=own.log_ratios,
            )
        return rounds

    def _commit(self, rounds: Mapping[int, Round]) -> None:
        """Commit the tokens to states, scorer and drafters."""
        kept = {}
        for b, r in rounds.items():
            state = states_of(self.states, b)
            state.append(r.tokens)
            accepted = min(r.accepted, len(r.tokens))
            kept[b] = Kept(accepted, r.tokens[accepted:] or (0,), r.candidate)
            if r.tokens[-1] in state.decoding.end_tokens:
                state.finish_reason = "stop"
            elif not state.room:
                state.finish_reason = "length"
        self.scorer.commit(kept)
        self.drafters.commit(kept)

    def _counted(self, slot: int, r: Round, seconds: Seconds) -> Round:
        state = states_of(self.states, slot)
        return state.count(replace(r, seconds=seconds, finish_reason=state.finish_reason))


@dataclass(frozen=True)
class _Part:
    """Slots that are verified together, with the scores of their rows."""

    states: Mapping[int, SequenceState]  # by slot, in the order of the scores
    scores: Scores

    @property
    def places(self) -> dict[int, int]:
        """The place of each slot in the scores."""
        return {b: place for place, b in enumerate(self.states)}

    @property
    def decoding(self) -> Decoding:
        """That of the first slot; the others differ in weights and end tokens only."""
        return next(iter(self.states.values())).decoding

    def weights(self) -> Tensor:
        """w (K, b)."""
        like = self.scores.log_probs
        of_slots = [state.decoding.weights for state in self.states.values()]
        return to_device(torch.tensor(of_slots, dtype=like.dtype).T.contiguous(), like.device)

    def target(self, draft: Draft) -> Tensor:
        """log p (b, N, T+1, V)."""
        decoding, scores = self.decoding, self.scores
        seen, drafted = None, draft.tokens
        if decoding.sampling.penalises:
            drafted = to_device(drafted[list(self.states), : decoding.candidates], scores.log_probs.device)
        if decoding.sampling.looks_back:  # drafted (b, N, T)
            seen = Seen.of([state.counts for state in self.states.values()]).on(scores.log_probs.device)
        log_p = combine(decoding.scheme.target, scores.log_probs, self.weights())
        kept = self._kept(seen, drafted)
        return reshape(log_p, scores.normaliser[0], decoding.sampling, seen, drafted, kept)

    def _kept(self, seen: Seen | None, drafted: Tensor) -> Tensor | None:
        """The tokens (b, N, T+1, V) that a row alone would say; None where nothing is restricted."""
        decoding, scores = self.decoding, self.scores
        least = decoding.sampling.expert_min_p
        whole = [not extrapolates(state.decoding.weights) for state in self.states.values()]
        if decoding.scheme.target != "product" or least == 0 or all(whole):
            return None
        rows = (
            penalise(row, normaliser, decoding.sampling, seen, drafted)
            for row, normaliser in zip(scores.log_probs, scores.normaliser, strict=True)
        )
        kept = plausible(rows, self.weights(), least)
        return kept | to_device(torch.tensor(whole), kept.device)[:, None, None, None]

    def contributions(
        self, tokens: Mapping[int, Sequence[int]], found: Mapping[int, Verification]
    ) -> list[list[list[float]]]:
        """Contributions to the committed tokens: for each verified slot and token a list of K."""
        log_probs, places = self.scores.log_probs, self.places
        chosen = padded(tokens.values()).to(log_probs.device)  # (n, L)
        position = torch.arange(chosen.shape[1])  # (L,)
        own = [places[b] for b in tokens]
        at = torch.tensor(own)[:, None]  # (n, 1)
        n = torch.tensor([verification.candidate for verification in found.values()])[:, None]  # (n, 1)
        of_chosen = log_probs[:, at, n, position, chosen]  # (R, n, L)
        weights = self.weights()[:, own]  # (K, n)
        rows: list[list[list[float]]] = contributions(
            self.decoding.scheme.target, of_chosen, weights
        ).tolist()
        return [of_slot[: len(ids)] for of_slot, ids in zip(rows, tokens.values(), strict=True)]


def not_a_number(name: str) -> NumericsError:
    """The error of a row that has returned NaN."""
    return NumericsError(
        f"the model returned NaN in the row of {name}",
        hint="try --dtype float32; if that fails, the weights of that model or adapter are damaged",
    )
