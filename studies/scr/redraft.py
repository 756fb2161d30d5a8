"""The plain reading of the paper's abstract: whole chunks are drafted until one is accepted.

A chunk is accepted with probability min(1, e^{a - m}), a its log-ratio and m a threshold from the window of
the chunks before; nothing of a rejected chunk is kept and no token of the target is added. For this study
only: the program's rule `threshold` keeps prefixes and commits the target's token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from mpg_cli.sampling.drafters import RowDrafter
from mpg_cli.sampling.engine import Engine
from mpg_cli.sampling.noise import Noise, draft_stream, judge_stream
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.round import Round, Seconds
from mpg_cli.sampling.settings import Settings
from mpg_cli.sampling.targets import combine, pull
from mpg_cli.sampling.thresholds import Window


def redraft(
    engine: Engine,
    drafter: RowDrafter,
    settings: Settings,
    replies: Sequence[Reply],
    openings: Sequence[int],
    passes: int,
) -> Iterator[Round]:
    """Rounds of a batch whose prompts are read; a reply that needs more than so many passes stays unfinished.

    ``openings`` are the last tokens of the prompts. Temperature 1, no truncation.
    """
    weights = torch.tensor(settings.weights)
    windows = [Window(settings.threshold) for _ in replies]
    last = list(openings)  # the token that waits to be fed
    for attempt in range(passes):
        live = [b for b, reply in enumerate(replies) if reply.finish_reason is None]
        if not live:
            return
        gamma = min(settings.chunk_size, max(replies[b].limit - len(replies[b].tokens) for b in live))
        steps, log_qs = [], []
        for place in range(gamma):
            log_q = drafter.next()[0][:, 0]  # (B, V)
            offset = attempt * settings.chunk_size + place  # a fresh draft at the same place
            noise = torch.stack([_gumbel(reply.noise, offset, log_q.shape[-1]) for reply in replies])
            token = (log_q + noise).argmax(-1)  # (B,)
            log_qs.append(log_q.gather(-1, token[:, None])[:, 0])  # (B,)
            steps.append(token)
            drafter.push(token[:, None])
        drafts = torch.stack(steps, dim=1)  # (B, gamma)
        log_probs = engine.score(drafts[:, None]).log_probs[:, :, 0]  # (R, B, gamma+1, V)
        engine.check()
        log_p = combine(settings.target, log_probs, weights)  # (B, gamma+1, V)
        of_draft = log_p[:, :gamma].gather(-1, drafts[..., None])[..., 0]  # (B, gamma)
        ratios = (of_draft - torch.stack(log_qs, dim=1)).double().tolist()  # B lists of gamma
        keep = [0] * len(replies)
        for b in live:
            reply = replies[b]
            chunk = drafts[b, : reply.limit - len(reply.tokens)].tolist()
            end = next((n + 1 for n, token in enumerate(chunk) if token in settings.end_tokens), len(chunk))
            chunk = chunk[:end]
            a = math.fsum(ratios[b][:end])
            m = windows[b].thresholds(1)[0]
            u = reply.noise.uniform(0, judge_stream(0), attempt)
            kept = len(chunk) if u < math.exp(min(0.0, a - m)) else 0
            windows[b].add([(a,)])
            keep[b] = kept
            chosen = torch.tensor(chunk[:kept], dtype=torch.long)
            of_chosen = log_probs[:, b, torch.arange(kept), chosen]  # (R, kept)
            start = len(reply.tokens)
            reply.tokens += chunk[:kept]
            last[b] = chunk[kept - 1] if kept else last[b]
            if kept and chunk[-1] in settings.end_tokens:
                reply.finish_reason = "stop"
            elif len(reply.tokens) >= reply.limit:
                reply.finish_reason = "length"
            yield Round(
                sequence=reply.sequence,
                start=start,
                draft=tuple(chunk),
                tested=len(chunk),
                kept=kept,
                tokens=tuple(chunk[:kept]),
                pull=tuple(tuple(row) for row in pull(settings.target, of_chosen, weights).tolist()),
                seconds=Seconds(),
                drafted=len(chunk),
                steps=len(chunk),
                thresholds=(m,),
                log_ratios=((a,),),
                finish_reason=reply.finish_reason,
            )
        # The last committed token is fed again: every pass starts from it.
        drop = [gamma - kept + 1 for kept in keep]
        new = [[token] for token in last]
        engine.commit(drop, new)
        drafter.commit(drop, new, [0] * len(replies))


def _gumbel(noise: Noise, offset: int, size: int) -> torch.Tensor:
    return noise.gumbel(size, 0, draft_stream(0), offset)
