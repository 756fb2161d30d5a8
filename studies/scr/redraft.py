"""The literal reading of the paper's abstract: whole chunks are drafted until one is accepted.

A chunk is accepted with probability min(1, e^{a - m}), where a is its log-ratio and m a threshold from the
window of earlier chunks; a rejected chunk is dropped entirely and the target adds no token. For this study
only: the rule `threshold` accepts prefixes and commits the target's token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from mpg_cli.sampling.noise import Noise, draft_stream, verify_stream
from mpg_cli.sampling.scorer import Scorer, StepScorer
from mpg_cli.sampling.state import Decoding, SequenceState, Window
from mpg_cli.sampling.stats import Round, Seconds
from mpg_cli.sampling.targets import combine, contributions


def redraft(
    scorer: Scorer,
    drafter: StepScorer,
    how: Decoding,
    replies: Sequence[SequenceState],
    openings: Sequence[int],
    passes: int,
) -> Iterator[Round]:
    """Rounds of a batch after prefill; a reply that needs more than `passes` passes stays unfinished.

    ``openings`` are the last tokens of the prompts. Temperature 1, no truncation.
    """
    size = how.scheme.chunk_size or 1
    weights = torch.tensor(how.weights)
    nothing = torch.zeros(len(replies), 1, 0, dtype=torch.long)
    windows = [Window(how.scheme.threshold) for _ in replies]
    last = list(openings)  # the next token to feed
    for attempt in range(passes):
        live = [b for b, reply in enumerate(replies) if reply.finish_reason is None]
        if not live:
            return
        gamma = min(size, max(replies[b].limit - len(replies[b].tokens) for b in live))
        steps, log_qs = [], []
        for place in range(gamma):
            log_q = drafter.score(nothing).log_probs[0, :, 0, 0]  # (B, V)
            offset = attempt * size + place  # fresh noise at the same position
            noise = torch.stack([_gumbel(reply.noise, offset, log_q.shape[-1]) for reply in replies])
            token = (log_q + noise).argmax(-1)  # (B,)
            log_qs.append(log_q.gather(-1, token[:, None])[:, 0])  # (B,)
            steps.append(token)
            drafter.push(token[:, None])
        drafts = torch.stack(steps, dim=1)  # (B, gamma)
        log_probs = scorer.score(drafts[:, None]).log_probs[:, :, 0]  # (R, B, gamma+1, V)
        scorer.check()
        log_p = combine(how.scheme.target, log_probs, weights)  # (B, gamma+1, V)
        of_draft = log_p[:, :gamma].gather(-1, drafts[..., None])[..., 0]  # (B, gamma)
        ratios = (of_draft - torch.stack(log_qs, dim=1)).double().tolist()  # B lists of gamma
        accepted = [0] * len(replies)
        for b in live:
            reply = replies[b]
            chunk = drafts[b, : reply.limit - len(reply.tokens)].tolist()
            end = next((n + 1 for n, token in enumerate(chunk) if token in how.end_tokens), len(chunk))
            chunk = chunk[:end]
            a = math.fsum(ratios[b][:end])
            m = windows[b].thresholds(1)[0]
            u = reply.noise.uniform(0, verify_stream(0), attempt)
            count = len(chunk) if u < math.exp(min(0.0, a - m)) else 0
            windows[b].add([(a,)])
            accepted[b] = count
            chosen = torch.tensor(chunk[:count], dtype=torch.long)
            of_chosen = log_probs[:, b, torch.arange(count), chosen]  # (R, count)
            start = len(reply.tokens)
            reply.tokens += chunk[:count]
            last[b] = chunk[count - 1] if count else last[b]
            if count and chunk[-1] in how.end_tokens:
                reply.finish_reason = "stop"
            elif len(reply.tokens) >= reply.limit:
                reply.finish_reason = "length"
            yield Round(
                sequence=reply.sequence,
                start=start,
                draft=tuple(chunk),
                evaluated=len(chunk),
                accepted=count,
                tokens=tuple(chunk[:count]),
                contributions=tuple(
                    map(tuple, contributions(how.scheme.target, of_chosen, weights).tolist())
                ),
                seconds=Seconds(),
                drafted=len(chunk),
                steps=len(chunk),
                thresholds=(m,),
                log_ratios=((a,),),
                finish_reason=reply.finish_reason,
            )
        # The last committed token is fed again: every pass starts from it.
        drop = [gamma - count + 1 for count in accepted]
        new = [[token] for token in last]
        scorer.commit(drop, new)
        drafter.commit(drop, new, [0] * len(replies))


def _gumbel(noise: Noise, offset: int, size: int) -> torch.Tensor:
    return noise.gumbel(size, 0, draft_stream(0), offset)
