"""Speculative Chunk-level Rejection sampling: draft, score, judge, commit (algorithm page, section 4).

    page                here
    p, log p            log_p       the target, penalised, warped and normalised, (B, N, T+1, V)
    q, log q            log_q       the drafter's, of the drafted tokens, (B, N, T)
    c                   draft       the drafted tokens of N candidates, (B, N, T), T = W * gamma
    N, W, gamma                     Threshold.candidates, Threshold.ahead, Settings.chunk_size (or a Pace's)
    g                   gumbel      noise of a reply position, (V,)
    a_l, m_l, u_l       a, m, u     log-ratios, thresholds, uniforms of one chunk
    L                   kept        length of the prefix that stays

Source: R. Chen et al., Multi-Personality Generation of LLMs at Decoding-time, WSDM 2026, of which the
round, the parallel candidates and the window of thresholds are taken; the coupled noise of rule `exact`,
the nested salvage of rule `threshold` and the target's token after the kept prefix are ours. Rule `block`
is block verification, Sun et al., arXiv 2403.10444.

Every pass commits at least one token: the target's own, known from the same pass. Whatever the rule,
one law is sampled, the token-normalised target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.drafters import Draft, LookupDrafter, RowDrafter
from mpg_cli.sampling.engine import Engine, Scores
from mpg_cli.sampling.judge import Judge
from mpg_cli.sampling.noise import draft_stream
from mpg_cli.sampling.pace import Pace
from mpg_cli.sampling.penalties import Seen, penalise
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.reply_noise import ReplyNoise
from mpg_cli.sampling.round import FinishReason, Round, Seconds
from mpg_cli.sampling.settings import Settings
from mpg_cli.sampling.targets import combine, pull
from mpg_cli.sampling.tensors import padded, to_device
from mpg_cli.sampling.thresholds import Window
from mpg_cli.sampling.warpers import Warp, warp


class Sampler:
    """Rounds over a batch of replies. The engine's (and the drafter's) prompts are already read."""

    def __init__(
        self,
        engine: Engine,
        drafter: RowDrafter | LookupDrafter | None,
        settings: Settings,
        replies: Sequence[Reply],
    ) -> None:
        if settings.rule == "threshold" and isinstance(drafter, LookupDrafter):
            raise ValueError("rule threshold needs a drafter that can propose every token")
        self.engine, self.drafter, self.settings, self.replies = engine, drafter, settings, list(replies)
        self.noise = ReplyNoise(settings.warp.greedy)
        self.judge = Judge(settings, self.noise)
        self._shared_pace = Pace(settings.cost) if settings.cost else None
        for b, reply in enumerate(self.replies):
            self.seat(b, reply)

    def run(self) -> Iterator[Round]:
        """Rounds until every reply is finished; a caller may finish one early with `stop`."""
        while any(reply.finish_reason is None for reply in self.replies):
            yield from self.round()

    def seat(self, index: int, reply: Reply) -> None:
        """Put another reply in place `index`; engine and drafter have read its prompt there."""
        s = self.settings
        reply.window = Window(s.threshold) if s.rule == "threshold" else None
        if s.cost:  # under exact the text does not depend on it, and a pass is as long as its longest chunk
            reply.pace = self._shared_pace if s.rule == "exact" else Pace(s.cost)
        self.replies[index] = reply

    def select(self, places: Sequence[int]) -> None:
        """Go on with the replies in these places; engine and drafter have been told the same.

        Of one that is named again the copy is finished: a place for another.
        """
        again = [b in places[:index] for index, b in enumerate(places)]
        self.replies = [
            replace(self.replies[b], finish_reason="stop") if copied else self.replies[b]
            for b, copied in zip(places, again, strict=True)
        ]

    def stop(self, index: int, reason: FinishReason = "stop") -> None:
        """Finish reply `index` now: a stop string was found, or the user interrupted."""
        self.replies[index].finish_reason = reason

    def round(self) -> list[Round]:
        """One round: a `Round` for each reply that was not finished before it."""
        live = [b for b, reply in enumerate(self.replies) if reply.finish_reason is None]
        began = perf_counter()
        seen = self._seen()
        draft = self._draft(live, seen)
        sizes = {b: min(draft.sizes[b], self._room(b) - 1) for b in live}
        drafted = perf_counter()
        scores = self.engine.score(draft.tokens)  # of T+1 positions
        if self.settings.rule == "exact" and scores.log_probs.is_cuda:  # which computes meanwhile
            self.noise.make(self.judge.places(self.replies, draft, sizes), scores.log_probs)
        self.engine.check()
        scored = perf_counter()
        rounds = self._judge(draft, sizes, scores, seen)
        self._commit(draft, rounds)
        judged = perf_counter()
        share = 1 / len(live)
        seconds = Seconds(
            0.0, (drafted - began) * share, (scored - drafted) * share, (judged - scored) * share
        )
        return [
            replace(round_, seconds=seconds, finish_reason=self.replies[b].finish_reason)
            for b, round_ in rounds.items()
        ]

    # -- draft -----------------------------------------------------------------------------------

    def _draft(self, live: Sequence[int], seen: Seen | None) -> Draft:
        """W * gamma tokens for every candidate; a reply near its limit needs no more than that leaves."""
        sizes = [0] * len(self.replies)
        for b in live:
            reply = self.replies[b]
            gamma = reply.pace.chunk_size if reply.pace else self.settings.chunk_size
            sizes[b] = min(gamma * self.settings.threshold.ahead, self._room(b) - 1) if self.drafter else 0
        if isinstance(self.drafter, LookupDrafter):
            return self.drafter.draft(sizes)
        if not any(sizes):
            nothing = torch.zeros(len(sizes), self.engine.candidates, 0)  # (B, N, 0)
            return Draft(tuple(sizes), nothing.long(), nothing)
        return self._step_drafter(live, sizes, seen)

    def _step_drafter(self, live: Sequence[int], sizes: Sequence[int], seen: Seen | None) -> Draft:
        """Step the drafter row until every live reply has its draft or has drafted its end."""
        B, N = len(self.replies), self.engine.candidates
        steps: list[Tensor] = []  # each (B, N)
        log_qs: list[Tensor] = []  # each (B, N)
        laws: list[Tensor] = []  # each (B, N, V), where the rule looks at all of q
        ended = torch.ones(B, N, dtype=torch.bool)
        ended[list(live)] = False
        wanted = torch.tensor(sizes)[:, None]  # (B, 1)
        ends = torch.tensor(sorted(self.settings.end_tokens), dtype=torch.long)
        while not bool((ended := ended | (wanted <= len(steps))).all()):
            assert isinstance(self.drafter, RowDrafter)
            log_q, normaliser = self.drafter.next()  # (B, N, V), (B, N)
            if seen is not None and not steps:
                seen = seen.on(log_q.device)
            log_q = self._penalised(log_q, normaliser, seen, steps)
            log_q = warp(log_q, self._drafter_warp())
            token = (log_q + self._draft_noise(len(steps), ended, log_q)).argmax(dim=-1)  # (B, N)
            log_qs.append(log_q.gather(-1, token[..., None])[..., 0])  # (B, N)
            if self.settings.rule == "block":
                laws.append(log_q)
            steps.append(token)
            if token.device.type == "cpu":  # elsewhere a look would wait for all work before it
                ended |= torch.isin(token, ends)
            self.drafter.push(token)
        return Draft(
            tuple(sizes),
            torch.stack(steps, dim=2).cpu(),  # (B, N, T)
            torch.stack(log_qs, dim=2),  # (B, N, T)
            torch.stack(laws, dim=2) if laws else None,  # (B, N, T, V)
        )

    def _drafter_warp(self) -> Warp:
        """Under `threshold` q is not truncated: what is masked from q is lost to the target for good."""
        how = self.settings.warp
        return how.untruncated() if self.settings.rule == "threshold" else how

    def _draft_noise(self, offset: int, ended: Tensor, like: Tensor) -> Tensor:
        """Noise (B, N, V) of one drafted token of every candidate; none where `ended` (B, N)."""
        noise = torch.zeros_like(like)
        drafting = (~ended).nonzero().tolist()  # pairs of b and n
        if self.settings.rule == "exact":
            places = [b for b, _ in drafting]
            replies = [self.replies[b] for b in places]
            found = self.noise.at([(reply, len(reply.tokens) + offset) for reply in replies], like)
            noise[:, 0].index_copy_(0, to_device(torch.tensor(places, dtype=torch.long), like.device), found)
        else:
            for b, n in drafting:
                noise[b, n] = self.noise.fresh(self.replies[b], draft_stream(n), offset, like[b, n])
        return noise

    # -- judge -----------------------------------------------------------------------------------

    def _judge(
        self, draft: Draft, sizes: Mapping[int, int], scores: Scores, seen: Seen | None
    ) -> dict[int, Round]:
        """What is committed to every live reply, as rounds still without timing."""
        s, log_probs = self.settings, scores.log_probs
        weights = to_device(torch.tensor(s.weights, dtype=log_probs.dtype), log_probs.device)
        log_p = combine(s.target, log_probs, weights)  # (B, N, T+1, V)
        if s.penalties.active:
            seen, drafted = seen.on(log_p.device) if seen else None, to_device(draft.tokens, log_p.device)
            log_p = penalise(log_p, scores.normaliser[0], s.penalties, seen, drafted)
        log_p = warp(log_p, s.warp)
        if bool(log_p[list(sizes), ..., 0].isnan().any()):
            raise NumericsError(
                "no token has any probability left in the blend",
                hint="the experts exclude each other, or a penalty is out of all proportion",
            )
        found = self.judge.verdicts(self.replies, draft, log_p, sizes)
        committed = {b: s.until_end(v.tokens, self._room(b)) for b, v in found.items()}
        pulls = self._pulls(committed, [v.candidate for v in found.values()], log_probs, weights)
        drafts: list[list[list[int]]] = draft.tokens.tolist()  # B lists of N lists of T
        rounds = {}
        for (b, verdict), of_personas in zip(found.items(), pulls, strict=True):
            reply = self.replies[b]
            lengths = [len(s.until_end(c, sizes[b])) for c in drafts[b]]  # N
            rounds[b] = Round(
                sequence=reply.sequence,
                start=len(reply.tokens),
                draft=tuple(verdict.draft),
                tested=verdict.tested,
                kept=verdict.kept,
                tokens=tuple(committed[b]),
                pull=tuple(map(tuple, of_personas)),
                seconds=Seconds(),
                drafted=sum(lengths),
                steps=max(lengths) if isinstance(self.drafter, RowDrafter) else 0,
                candidate=verdict.candidate,
                thresholds=verdict.thresholds,
                log_ratios=verdict.log_ratios,
            )
        return rounds

    def _pulls(
        self,
        tokens: Mapping[int, Sequence[int]],
        candidates: Sequence[int],
        log_probs: Tensor,
        weights: Tensor,
    ) -> list[list[list[float]]]:
        """What each of K personas added to the committed tokens: a list for each reply b of lists of K."""
        chosen = padded(tokens.values()).to(log_probs.device)  # (live, L)
        place = torch.arange(chosen.shape[1])  # (L,)
        b = torch.tensor(list(tokens))[:, None]  # (live, 1)
        n = torch.tensor(candidates)[:, None]  # (live, 1)
        of_chosen = log_probs[:, b, n, place, chosen]  # (R, live, L)
        pulls: list[list[list[float]]] = pull(self.settings.target, of_chosen, weights).tolist()
        return [rows[: len(own)] for rows, own in zip(pulls, tokens.values(), strict=True)]

    def _room(self, b: int) -> int:
        """Tokens that reply b may still have."""
        return self.replies[b].limit - len(self.replies[b].tokens)

    # -- commit ----------------------------------------------------------------------------------

    def _commit(self, draft: Draft, rounds: dict[int, Round]) -> None:
        """Bring replies, engine and drafter to the committed tokens; finished rows just stand still."""
        fed = draft.tokens.shape[2]
        drop = [fed + 1] * len(self.replies)  # a finished row forgets what it was fed and waits with a filler
        new: list[Sequence[int]] = [[0]] * len(self.replies)
        winner = [0] * len(self.replies)
        for b, round_ in rounds.items():
            reply = self.replies[b]
            reply.append(round_.tokens)
            if reply.pace:
                reply.pace.add(round_.tested, round_.kept)
            stays = min(round_.kept, len(round_.tokens))
            drop[b], new[b], winner[b] = fed - stays, round_.tokens[stays:] or (0,), round_.candidate
            if round_.tokens[-1] in self.settings.end_tokens:
                reply.finish_reason = "stop"
            elif len(reply.tokens) >= reply.limit:
                reply.finish_reason = "length"
            for position in [p for p in reply.gumbels if p < len(reply.tokens)]:
                del reply.gumbels[position]
            if isinstance(self.drafter, LookupDrafter):
                self.drafter.append(b, round_.tokens)
        self.engine.commit(drop, new, winner)
        if isinstance(self.drafter, RowDrafter):
            self.drafter.commit(drop, new, winner)

    # -- penalties ----------------------------------------------------------------------------

    def _seen(self) -> Seen | None:
        """The tokens that penalties look back on; None where none do."""
        looks = self.settings.penalties.look_back
        return Seen.of([reply.counts for reply in self.replies]) if looks else None

    def _penalised(
        self, log_q: Tensor, normaliser: Tensor, seen: Seen | None, steps: Sequence[Tensor]
    ) -> Tensor:
        """log_q (B, N, V) after the drafted `steps`, each (B, N), by the logits of its own row (B, N)."""
        how = self.settings.penalties
        if not how.active:
            return log_q
        empty = torch.zeros(*log_q.shape[:2], 0, dtype=torch.long, device=log_q.device)  # (B, N, 0)
        drafted = torch.stack(list(steps), dim=2) if steps else empty
        return penalise(log_q[:, :, None], normaliser[..., None], how, seen, drafted)[:, :, 0]
