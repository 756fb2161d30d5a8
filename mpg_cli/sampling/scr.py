"""Speculative Chunk-level Rejection sampling: draft, score, judge, commit (algorithm page, section 4).

    page                here
    p, log p            log_p       the target, warped and normalised, (B, gamma+1, V)
    q, log q            log_q       the drafter's, of the drafted tokens, (B, gamma)
    c, gamma            draft       the drafted chunk, (B, gamma)
    g                   gumbel      noise of a reply position, (V,)
    a_l, m_l, u_l       a, m, u     log-ratios, thresholds, uniforms of one chunk
    L                   kept        length of the prefix that stays

Source: R. Chen et al., Multi-Personality Generation of LLMs at Decoding-time, WSDM 2026, of which the
round and the window of thresholds are taken; the coupled noise of rule `exact`, the nested salvage of
rule `threshold` and the target's token after the kept prefix are ours.

Every pass commits at least one token: the target's own, known from the same pass. Whatever the rule,
one law is sampled, the token-normalised target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import torch
from torch import Tensor

from mpg_cli.errors import NumericsError
from mpg_cli.sampling.drafters import Draft, RowDrafter
from mpg_cli.sampling.engine import Engine
from mpg_cli.sampling.noise import EXACT, TARGET, Noise, draft_stream, judge_stream
from mpg_cli.sampling.round import FinishReason, Round, Seconds
from mpg_cli.sampling.rules import Rule, Threshold, Window, judge_exact, judge_threshold
from mpg_cli.sampling.targets import Target, combine, pull
from mpg_cli.sampling.warpers import Warp, warp


@dataclass(frozen=True)
class Settings:
    """What is sampled and how; `weights` belong to the rows 1..K of the engine."""

    weights: tuple[float, ...]
    target: Target = "product"
    rule: Rule = "exact"
    chunk_size: int = 4
    warp: Warp = field(default_factory=Warp)
    threshold: Threshold = field(default_factory=Threshold)
    end_tokens: frozenset[int] = frozenset()


@dataclass
class Reply:
    """One sequence under way: its noise, its tokens so far (an end token included), its window."""

    noise: Noise
    limit: int
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    window: Window | None = None
    gumbels: dict[int, Tensor] = field(default_factory=dict)  # by reply position, for this round's reuse

    @property
    def sequence(self) -> int | str:
        return self.noise.sequence


class Sampler:
    """Rounds over a batch of replies. The engine's (and the drafter's) prompts are already read."""

    def __init__(
        self, engine: Engine, drafter: RowDrafter | None, settings: Settings, replies: Sequence[Reply]
    ) -> None:
        self.engine, self.drafter, self.settings, self.replies = engine, drafter, settings, list(replies)
        for reply in self.replies:
            reply.window = Window(settings.threshold) if settings.rule == "threshold" else None

    def run(self) -> Iterator[Round]:
        """Rounds until every reply is finished; a caller may finish one early with `stop`."""
        while any(reply.finish_reason is None for reply in self.replies):
            yield from self.round()

    def stop(self, index: int, reason: FinishReason = "stop") -> None:
        """Finish reply `index` now: a stop string was found, or the user interrupted."""
        self.replies[index].finish_reason = reason

    def round(self) -> list[Round]:
        """One round: a `Round` for each reply that was not finished before it."""
        live = [b for b, reply in enumerate(self.replies) if reply.finish_reason is None]
        began = perf_counter()
        draft = self._draft(live)
        drafted = perf_counter()
        log_probs = self.engine.extend(draft.tokens[:, None])[:, :, 0]  # (R, B, gamma+1, V)
        scored = perf_counter()
        rounds = self._judge(live, draft, log_probs)
        self._commit(draft, rounds)
        judged = perf_counter()
        share = 1 / len(live)
        seconds = Seconds(
            0.0, (drafted - began) * share, (scored - drafted) * share, (judged - scored) * share
        )
        return [self._event(b, round_, seconds) for b, round_ in rounds.items()]

    # -- draft -----------------------------------------------------------------------------------

    def _draft(self, live: Sequence[int]) -> Draft:
        """Step the drafter up to gamma times; a reply near its limit needs no more than that leaves."""
        size = len(self.replies)
        room = max(self.replies[b].limit - len(self.replies[b].tokens) for b in live) - 1
        gamma = min(self.settings.chunk_size, room) if self.drafter else 0
        chunk: list[list[int]] = []
        log_qs: list[Tensor] = []
        ended = {b for b in range(size) if b not in live}
        while len(chunk) < gamma and len(ended) < size:
            assert self.drafter is not None
            log_q = self.drafter.next()  # (B, V)
            log_q = warp(log_q, self._drafter_warp(), self._seen(chunk, log_q))
            noise = [
                torch.zeros_like(log_q[b]) if b in ended else self._draft_noise(b, len(chunk), log_q[b])
                for b in range(size)
            ]
            step = (log_q + torch.stack(noise)).argmax(dim=-1).tolist()  # B tokens
            log_qs.append(log_q[torch.arange(size), torch.tensor(step)])  # (B,)
            ended |= {b for b, token in enumerate(step) if token in self.settings.end_tokens}
            chunk.append(step)
            self.drafter.push(step)
        tokens = torch.tensor(chunk, dtype=torch.long).view(len(chunk), size).T  # (B, gamma)
        log_q = torch.stack(log_qs, dim=1) if log_qs else torch.zeros(size, 0)
        return Draft(gamma, tokens, log_q)

    def _drafter_warp(self) -> Warp:
        """Under `threshold` q is not truncated: what is masked from q is lost to the target for good."""
        how = self.settings.warp
        return how if self.settings.rule == "exact" else how.untruncated()

    def _draft_noise(self, b: int, offset: int, like: Tensor) -> Tensor:
        reply = self.replies[b]
        if self.settings.rule == "exact":
            return self._gumbel(reply, len(reply.tokens) + offset, like)
        return self._fresh(reply, draft_stream(0), offset, like)

    # -- judge -----------------------------------------------------------------------------------

    def _judge(self, live: Sequence[int], draft: Draft, log_probs: Tensor) -> dict[int, Round]:
        """The kept prefix and the target's token of every live reply, as events still without timing."""
        s = self.settings
        weights = torch.tensor(s.weights, dtype=log_probs.dtype, device=log_probs.device)
        log_p = combine(s.target, log_probs, weights)  # (B, gamma+1, V)
        log_p = warp(log_p, s.warp, self._seen_along(draft.tokens, log_p))
        if bool(log_p[live, :, 0].isnan().any()):
            raise NumericsError(
                "no token has any probability left in the blend",
                hint="the experts exclude each other, or a penalty is out of all proportion",
            )
        rounds = {}
        for b in live:
            reply = self.replies[b]
            gamma = min(draft.size, reply.limit - len(reply.tokens) - 1)  # this reply may need less
            chunk = self._until_end(draft.tokens[b].tolist(), gamma)
            thresholds = ratios = None
            if s.rule == "exact":
                choices = self._choices(reply, log_p[b, : len(chunk) + 1])
                kept = judge_exact(chunk, choices)
                tested = min(kept + 1, len(chunk))
                tokens = choices[: kept + 1]
            else:
                assert reply.window is not None
                ratios = self._ratios(chunk, gamma, log_p[b], draft.log_q[b]) if gamma else ()
                thresholds = reply.window.thresholds(gamma)
                u = [reply.noise.uniform(len(reply.tokens), judge_stream(0), place) for place in range(gamma)]
                kept = min(judge_threshold(ratios, thresholds, u), len(chunk))
                if gamma:
                    reply.window.add(ratios)
                tested = len(chunk)
                noise = self._fresh(reply, TARGET, 0, log_p[b, kept])
                tokens = [*chunk[:kept], int((log_p[b, kept] + noise).argmax())]
            tokens = self._until_end(tokens, reply.limit - len(reply.tokens))
            chosen = torch.tensor(tokens, device=log_probs.device)
            of_chosen = log_probs[:, b, torch.arange(len(tokens)), chosen]  # (R, L+1)
            rounds[b] = Round(
                sequence=reply.sequence,
                start=len(reply.tokens),
                draft=tuple(chunk),
                tested=tested,
                kept=kept,
                tokens=tuple(tokens),
                pull=tuple(tuple(row) for row in pull(s.target, of_chosen, weights).tolist()),
                seconds=Seconds(),
                thresholds=thresholds,
                log_ratios=ratios,
            )
        return rounds

    def _choices(self, reply: Reply, log_p: Tensor) -> list[int]:
        """Rule `exact`: the target's own choice at each position of log_p (gamma+1, V)."""
        at = len(reply.tokens)
        noise = [self._gumbel(reply, at + offset, log_p[0]) for offset in range(log_p.shape[0])]
        choices: list[int] = (log_p + torch.stack(noise)).argmax(dim=-1).tolist()
        return choices

    @staticmethod
    def _ratios(chunk: Sequence[int], gamma: int, log_p: Tensor, log_q: Tensor) -> tuple[float, ...]:
        """Rule `threshold`: a_1 .. a_gamma in float64; after an end token both sides pad and a stays."""
        place = torch.arange(len(chunk))
        of_chunk = log_p[place, torch.tensor(chunk)].cpu().double()  # (len(chunk),); MPS has no float64
        a = (of_chunk - log_q[: len(chunk)].cpu().double()).cumsum(0).tolist()
        return (*a, *[a[-1]] * (gamma - len(a)))

    def _until_end(self, tokens: Sequence[int], room: int) -> list[int]:
        """`tokens` up to and including the first end token, and at most `room` of them."""
        for place, token in enumerate(tokens[:room]):
            if token in self.settings.end_tokens:
                return list(tokens[: place + 1])
        return list(tokens[:room])

    # -- commit ----------------------------------------------------------------------------------

    def _commit(self, draft: Draft, rounds: dict[int, Round]) -> None:
        """Bring replies, engine and drafter to the committed tokens; finished rows just stand still."""
        fed = draft.tokens.shape[1]
        drop = [fed + 1] * len(self.replies)  # a finished row forgets what it was fed and waits with a filler
        new: list[Sequence[int]] = [[0]] * len(self.replies)
        for b, round_ in rounds.items():
            reply = self.replies[b]
            reply.tokens += round_.tokens
            stays = min(round_.kept, len(round_.tokens))
            drop[b], new[b] = fed - stays, round_.tokens[stays:] or (0,)
            if round_.tokens[-1] in self.settings.end_tokens:
                reply.finish_reason = "stop"
            elif len(reply.tokens) >= reply.limit:
                reply.finish_reason = "length"
            for position in [p for p in reply.gumbels if p < len(reply.tokens)]:
                del reply.gumbels[position]
        self.engine.commit(drop, new)
        if self.drafter:
            self.drafter.commit(drop, new)

    def _event(self, b: int, round_: Round, seconds: Seconds) -> Round:
        return replace(round_, seconds=seconds, finish_reason=self.replies[b].finish_reason)

    # -- noise and penalties ---------------------------------------------------------------------

    def _gumbel(self, reply: Reply, position: int, like: Tensor) -> Tensor:
        """The noise (V,) of a reply position, the same for draft and target; 0 at temperature 0."""
        if self.settings.warp.greedy:
            return torch.zeros_like(like)
        if position not in reply.gumbels:
            reply.gumbels[position] = reply.noise.gumbel(like.shape[-1], position, EXACT).to(like.device)
        return reply.gumbels[position]

    def _fresh(self, reply: Reply, stream: int, offset: int, like: Tensor) -> Tensor:
        """Noise (V,) used once, keyed by where the round starts."""
        if self.settings.warp.greedy:
            return torch.zeros_like(like)
        return reply.noise.gumbel(like.shape[-1], len(reply.tokens), stream, offset).to(like.device)

    def _seen(self, chunk: Sequence[Sequence[int]], like: Tensor) -> Tensor | None:
        """Tokens of each reply plus its draft so far, (B, V) bool; None where nothing asks for it."""
        if self.settings.warp.repetition_penalty == 1:
            return None
        seen = torch.zeros_like(like, dtype=torch.bool)
        for b, reply in enumerate(self.replies):
            seen[b, [*reply.tokens, *(step[b] for step in chunk)]] = True
        return seen

    def _seen_along(self, draft: Tensor, like: Tensor) -> Tensor | None:
        """The same before each position of the draft (B, gamma): (B, gamma+1, V)."""
        if self.settings.warp.repetition_penalty == 1:
            return None
        steps = draft.T.tolist()  # gamma lists of B
        return torch.stack(
            [self._seen(steps[:place], like[:, place]) for place in range(len(steps) + 1)],  # type: ignore[misc]
            dim=1,
        )
