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
from mpg_cli.sampling.scorer import Kept, Scorer, StepScorer
from mpg_cli.sampling.state import SequenceState
from mpg_cli.sampling.stats import Round, Seconds
from mpg_cli.sampling.targets import combine, contributions


def redraft(
    scorer: Scorer,
    drafter: StepScorer,
    replies: Sequence[SequenceState],
    openings: Sequence[int],
    passes: int,
) -> Iterator[Round]:
    """Rounds of a batch after prefill; a reply that needs more than `passes` passes stays unfinished.

    The replies are in slots 0, 1, ... and have one decoding; ``openings`` are the last tokens of the prompts.
    Temperature 1, no truncation.
    """
    how = replies[0].decoding
    size = how.scheme.chunk_size or 1
    weights = torch.tensor(how.weights)
    nothing = torch.zeros(len(replies), 1, 0, dtype=torch.long)
    last = list(openings)  # the next token to feed
    for attempt in range(passes):
        live = [b for b, reply in enumerate(replies) if reply.finish_reason is None]
        if not live:
            return
        gamma = min(size, max(replies[b].room for b in live))
        drafts = torch.zeros(len(replies), 1, gamma, dtype=torch.long)  # (B, 1, gamma)
        log_qs = []
        for place in range(gamma):
            log_q = drafter.score(nothing, live).of(live).log_probs[0, :, 0, 0]  # (b, V)
            offset = attempt * size + place  # fresh noise at the same position
            noise = torch.stack([_gumbel(replies[b].noise, offset, log_q.shape[-1]) for b in live])
            token = (log_q + noise).argmax(-1)  # (b,)
            log_qs.append(log_q.gather(-1, token[:, None])[:, 0])  # (b,)
            drafts[live, 0, place] = token
            drafter.push(drafts[..., place], live)
        scores = scorer.score(drafts, live).of(live)
        assert not scores.bad.any()
        log_probs = scores.log_probs[:, :, 0]  # (R, b, gamma+1, V)
        log_p = combine(how.scheme.target, log_probs, weights)  # (b, gamma+1, V)
        of_draft = log_p[:, :gamma].gather(-1, drafts[live, 0, :, None])[..., 0]  # (b, gamma)
        ratios = (of_draft - torch.stack(log_qs, dim=1)).double().tolist()  # b lists of gamma
        kept = {}
        for place, b in enumerate(live):
            reply = replies[b]
            assert reply.window is not None
            chunk = how.until_end(drafts[b, 0].tolist(), reply.room)
            a = math.fsum(ratios[place][: len(chunk)])
            m = reply.window.thresholds(1)[0]
            u = reply.noise.uniform(0, verify_stream(0), attempt)
            count = len(chunk) if u < math.exp(min(0.0, a - m)) else 0
            reply.window.add([(a,)])
            chosen = torch.tensor(chunk[:count], dtype=torch.long)
            of_chosen = log_probs[:, place, torch.arange(count), chosen]  # (R, count)
            start = len(reply.tokens)
            reply.tokens += chunk[:count]
            last[b] = chunk[count - 1] if count else last[b]
            # The last committed token is fed again: every pass starts from it.
            kept[b] = Kept(count - 1, [last[b]])
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
        scorer.commit(kept)
        drafter.commit(kept)


def _gumbel(noise: Noise, offset: int, size: int) -> torch.Tensor:
    return noise.gumbel(size, 0, draft_stream(0), offset)
