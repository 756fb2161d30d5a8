"""Speculative Chunk-level Rejection sampling: draft, score, verify, commit (docs/algorithm.md, "A round").

    page                here
    p, log p            log_p       the target, penalised, warped and normalised, (B, N, T+1, V)
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

Every pass commits at least one token, drawn from the target that the pass has scored. All rules sample the
same distribution, the token-normalised target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.drafters import Cost, Draft, Drafter, adaptive_chunk_size
from mpg_cli.sampling.scorer import Scorer, Scores, padded, to_device
from mpg_cli.sampling.state import Decoding, SequenceState, Window
from mpg_cli.sampling.stats import Round, Seconds, Stats
from mpg_cli.sampling.targets import Seen, combine, contributions, reshape
from mpg_cli.sampling.verification import Verification, coupled_positions, verify


class Sampler:
    """Rounds over a batch of sequences, one a slot, whose prompts scorer and drafter have prefilled."""

    def __init__(
        self,
        scorer: Scorer,
        drafter: Drafter,
        decoding: Decoding,
        states: Sequence[SequenceState],
        cost: Cost | None = None,
    ) -> None:
        """`cost` is the cost model behind an adaptive chunk size."""
        self.scorer, self.drafter, self.decoding, self.states = scorer, drafter, decoding, list(states)
        self.cost = cost or Cost()
        self.stats = Stats()  # of all rounds of all sequences
        for slot, state in enumerate(self.states):
            self.insert(slot, state)

    def run(self) -> Iterator[Round]:
        """Run rounds until every sequence is finished; a caller may finish one early."""
        while any(state.finish_reason is None for state in self.states):
            yield from self.round()

    def insert(self, slot: int, state: SequenceState) -> None:
        """Put a new sequence into a slot, where scorer and drafter have prefilled its prompt."""
        scheme = self.decoding.scheme
        state.window = Window(scheme.threshold) if scheme.rule == "threshold" else None
        self.states[slot] = state

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences of these slots, in this order, after the same call on scorer and drafter.

        A slot given again yields a finished copy: a free slot.
        """
        repeated = [slot in slots[:index] for index, slot in enumerate(slots)]
        self.states = [
            replace(self.states[slot], finish_reason="stop") if copied else self.states[slot]
            for slot, copied in zip(slots, repeated, strict=True)
        ]

    def round(self) -> list[Round]:
        """One round: a `Round` for each sequence that was not finished before it."""
        began = perf_counter()
        live = [b for b, state in enumerate(self.states) if state.finish_reason is None]
        looks_back = self.decoding.sampling.looks_back
        seen = Seen.of([state.counts for state in self.states]) if looks_back else None

        # 1. Draft.
        draft = self.drafter.draft(self.states, self._sizes(live), self.decoding, seen)  # (B, N, T)
        sizes = {b: min(draft.sizes[b], self.states[b].room - 1) for b in live}
        drafted = perf_counter()

        # 2. Score T+1 positions in one pass.
        scores = self.scorer.score(draft.tokens)
        if self.decoding.scheme.rule == "exact" and scores.log_probs.is_cuda:  # while the GPU computes
            self.decoding.noise.make(
                coupled_positions(self.states, draft, sizes, self.decoding), scores.log_probs
            )
        self.scorer.check()
        scored = perf_counter()

        # 3. Verify the draft against the target p.
        weights = torch.tensor(self.decoding.weights, dtype=scores.log_probs.dtype)
        weights = to_device(weights, scores.log_probs.device)  # (K,)
        log_p = self._target(scores, weights, draft, seen)  # (B, N, T+1, V)
        if bool(log_p[live, ..., 0].isnan().any()):
            raise NumericsError(
                "no token has any probability left in the blend",
                hint="the experts exclude each other, or a penalty is far too large",
            )
        found = verify(self.states, draft, log_p, sizes, self.decoding)
        rounds = self._rounds(found, draft, sizes, scores.log_probs, weights)

        # 4. Commit the accepted prefix and the token after it.
        self._commit(draft, rounds)
        verified = perf_counter()
        share = 1 / len(live)
        seconds = Seconds(
            draft=(drafted - began) * share,
            score=(scored - drafted) * share,
            verify=(verified - scored) * share,
        )
        return [self._counted(self.states[b], replace(r, seconds=seconds)) for b, r in rounds.items()]

    def _sizes(self, live: Sequence[int]) -> list[int]:
        """Tokens to draft for each sequence: W * gamma, or what its limit leaves; 0 for finished ones."""
        sizes = [0] * len(self.states)
        for b in live:
            chunks = self._chunk_size(self.states[b]) * self.decoding.scheme.threshold.ahead
            sizes[b] = min(chunks, self.states[b].room - 1)
        return sizes

    def _chunk_size(self, state: SequenceState) -> int:
        """gamma. An adaptive one depends on the past rounds of its own sequence only, so that every round
        still samples the target and a reply is the same in any batch. Under the exact rule no text depends on
        it, and the batch shares one: a pass is as long as its longest chunk.
        """
        scheme = self.decoding.scheme
        if scheme.chunk_size is not None:
            return scheme.chunk_size
        return adaptive_chunk_size(self.stats if scheme.rule == "exact" else state.stats, self.cost)

    def _target(self, scores: Scores, weights: Tensor, draft: Draft, seen: Seen | None) -> Tensor:
        """log p (B, N, T+1, V)."""
        log_p = combine(self.decoding.scheme.target, scores.log_probs, weights)
        seen = seen.on(log_p.device) if seen else None
        drafted = to_device(draft.tokens, log_p.device) if self.decoding.sampling.penalises else draft.tokens
        return reshape(log_p, scores.normaliser[0], self.decoding.sampling, seen, drafted)

    def _rounds(
        self,
        found: Mapping[int, Verification],
        draft: Draft,
        sizes: Mapping[int, int],
        log_probs: Tensor,
        weights: Tensor,
    ) -> dict[int, Round]:
        """The round of every live sequence, without its timing."""
        committed = {b: self.decoding.until_end(v.tokens, self.states[b].room) for b, v in found.items()}
        shares = self._contributions(committed, found, log_probs, weights)
        drafts: list[list[list[int]]] = draft.tokens.tolist()  # B lists of N lists of T
        rounds = {}
        for (b, own), of_tokens in zip(found.items(), shares, strict=True):
            lengths = [len(self.decoding.until_end(c, sizes[b])) for c in drafts[b]]  # N
            rounds[b] = Round(
                sequence=self.states[b].sequence,
                start=len(self.states[b].tokens),
                draft=tuple(own.draft),
                evaluated=own.evaluated,
                accepted=own.accepted,
                tokens=tuple(committed[b]),
                contributions=tuple(map(tuple, of_tokens)),
                seconds=Seconds(),
                drafted=sum(lengths),
                steps=min(draft.steps, max(lengths)),
                candidate=own.candidate,
                thresholds=own.thresholds,
                log_ratios=own.log_ratios,
            )
        return rounds

    def _contributions(
        self,
        tokens: Mapping[int, Sequence[int]],
        found: Mapping[int, Verification],
        log_probs: Tensor,
        weights: Tensor,
    ) -> list[list[list[float]]]:
        """Contributions to the committed tokens: for each live sequence and token a list of K."""
        chosen = padded(tokens.values()).to(log_probs.device)  # (live, L)
        position = torch.arange(chosen.shape[1])  # (L,)
        b = torch.tensor(list(tokens))[:, None]  # (live, 1)
        n = torch.tensor([own.candidate for own in found.values()])[:, None]  # (live, 1)
        of_chosen = log_probs[:, b, n, position, chosen]  # (R, live, L)
        rows: list[list[list[float]]] = contributions(
            self.decoding.scheme.target, of_chosen, weights
        ).tolist()
        return [own[: len(ids)] for own, ids in zip(rows, tokens.values(), strict=True)]

    def _commit(self, draft: Draft, rounds: Mapping[int, Round]) -> None:
        """Commit the tokens to states, scorer and drafter; finished sequences keep a constant length."""
        fed = draft.tokens.shape[2]
        drop = [fed + 1] * len(self.states)  # a finished sequence drops what was fed, for a filler
        new: list[Sequence[int]] = [[0]] * len(self.states)
        winner = [0] * len(self.states)
        for b, r in rounds.items():
            state = self.states[b]
            state.append(r.tokens)
            accepted = min(r.accepted, len(r.tokens))
            drop[b], new[b], winner[b] = fed - accepted, r.tokens[accepted:] or (0,), r.candidate
            if r.tokens[-1] in self.decoding.end_tokens:
                state.finish_reason = "stop"
            elif not state.room:
                state.finish_reason = "length"
        self.scorer.commit(drop, new, winner)
        self.drafter.commit(drop, new, winner)

    def _counted(self, state: SequenceState, r: Round) -> Round:
        r = state.count(replace(r, finish_reason=state.finish_reason))
        self.stats += Stats.of(r)
        return r
