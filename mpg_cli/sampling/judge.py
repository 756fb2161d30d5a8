"""What each rule says to the drafts of a batch: how much of every chunk stays, and which token follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mpg_cli.sampling.drafters import Draft
from mpg_cli.sampling.noise import TARGET, judge_stream
from mpg_cli.sampling.reply import Reply
from mpg_cli.sampling.reply_noise import ReplyNoise
from mpg_cli.sampling.rules import Verdict, block_chances, judge_ahead, judge_block, judge_exact
from mpg_cli.sampling.settings import Settings


class Judge:
    """Verdicts on the drafts of replies, by the rule of the settings; names as in `scr`.

    `sizes` says which replies b are judged, and how many tokens of their drafts count.
    """

    def __init__(self, settings: Settings, noise: ReplyNoise) -> None:
        self.settings, self.noise = settings, noise

    def verdicts(
        self, replies: Sequence[Reply], draft: Draft, log_p: Tensor, sizes: Mapping[int, int]
    ) -> dict[int, Verdict]:
        """A verdict for each; log_p (B, N, T+1, V)."""
        if self.settings.rule == "exact":
            return self._exact(replies, draft, log_p, sizes)
        rule = self._block if self.settings.rule == "block" else self._threshold
        return {b: rule(b, replies[b], draft, log_p[b], size) for b, size in sizes.items()}

    def places(
        self, replies: Sequence[Reply], draft: Draft, sizes: Mapping[int, int]
    ) -> list[tuple[Reply, int]]:
        """Replies, and positions of the tokens that the target chooses along the chunks of rule `exact`."""
        return _places(replies, self._chunks(draft, sizes))

    def _chunks(self, draft: Draft, sizes: Mapping[int, int]) -> dict[int, list[int]]:
        """What was drafted for each reply, up to its end."""
        return {b: self.settings.until_end(draft.tokens[b, 0].tolist(), size) for b, size in sizes.items()}

    def _exact(
        self, replies: Sequence[Reply], draft: Draft, log_p: Tensor, sizes: Mapping[int, int]
    ) -> dict[int, Verdict]:
        """Keep while draft and target choose the same with the same noise; then the target's choice."""
        chunks = self._chunks(draft, sizes)
        noise = self.noise.at(_places(replies, chunks), log_p)  # (n, V)
        of = [b for b, chunk in chunks.items() for _ in range(len(chunk) + 1)]
        place = [place for chunk in chunks.values() for place in range(len(chunk) + 1)]
        choices: list[int] = noise.add_(log_p[of, 0, place]).argmax(dim=-1).tolist()  # n
        verdicts = {}
        for b, chunk in chunks.items():
            own, choices = choices[: len(chunk) + 1], choices[len(chunk) + 1 :]
            kept = judge_exact(chunk, own)
            verdicts[b] = Verdict(chunk, min(kept + 1, len(chunk)), kept, own[: kept + 1])
        return verdicts

    def _block(self, b: int, reply: Reply, draft: Draft, log_p: Tensor, size: int) -> Verdict:
        """Block verification, then one token of what the draft has left of the target."""
        chunk = self.settings.until_end(draft.tokens[b, 0].tolist(), size)
        log_q = draft.log_law(b, log_p.shape[-1]).to(log_p.device)[: len(chunk)]  # (len(chunk), V)
        u = [reply.noise.uniform(len(reply.tokens), judge_stream(0), place) for place in range(len(chunk))]
        h, laws = block_chances(log_p[0, : len(chunk) + 1], log_q, chunk)  # laws (len(chunk)+1, V)
        kept = judge_block(h, u)
        token = int((laws[kept] + self.noise.fresh(reply, TARGET, 0, laws[kept])).argmax())
        return Verdict(chunk, min(kept + 1, len(chunk)), kept, [*chunk[:kept], token])

    def _threshold(self, b: int, reply: Reply, draft: Draft, log_p: Tensor, size: int) -> Verdict:
        """Judge each candidate's W chunks against the window's thresholds; the longest kept one stays."""
        start = len(reply.tokens)
        assert reply.window is not None
        gamma = max(1, self.settings.chunk_size)
        drafts = [self.settings.until_end(candidate, size) for candidate in draft.tokens[b].tolist()]
        m = reply.window.thresholds(min(gamma, size))  # fixed before this pass
        ratios = [self._ratios(c, size, log_p[n], draft.log_q[b, n]) for n, c in enumerate(drafts)]
        kept, judged = [], []
        for n, of_chunks in enumerate(ratios):
            u = [
                [reply.noise.uniform(start, judge_stream(n), w * gamma + place) for place in range(len(a))]
                for w, a in enumerate(of_chunks)
            ]
            length, reached = judge_ahead(of_chunks, m, u)
            kept.append(length)  # padding behind an end token counts: what is kept must not depend on it
            judged += of_chunks[:reached]
        for of_chunks in ratios:
            reply.window.add(of_chunks)
        best = kept.index(max(kept))
        chunk = drafts[best]
        length = min(kept[best], len(chunk))
        noise = self.noise.fresh(reply, TARGET, 0, log_p[best, length])
        token = int((log_p[best, length] + noise).argmax())
        return Verdict(chunk, len(chunk), length, [*chunk[:length], token], best, m, tuple(judged))

    def _ratios(
        self, chunk: Sequence[int], size: int, log_p: Tensor, log_q: Tensor
    ) -> list[tuple[float, ...]]:
        """a_1 .. a_gamma of every chunk of a candidate, each from its own start, in float64.

        After an end token both sides pad and a stays.
        """
        gamma, place = max(1, self.settings.chunk_size), torch.arange(len(chunk))
        of_chunk = log_p[place, torch.tensor(chunk, dtype=torch.long)].cpu().double()  # MPS has no float64
        steps = (of_chunk - log_q[: len(chunk)].cpu().double()).tolist()  # len(chunk)
        steps += [0.0] * (size - len(chunk))
        return [tuple(accumulate(steps[w : w + gamma])) for w in range(0, size, gamma)]


def _places(replies: Sequence[Reply], chunks: Mapping[int, Sequence[int]]) -> list[tuple[Reply, int]]:
    starts = {b: len(replies[b].tokens) for b in chunks}
    return [(replies[b], starts[b] + n) for b, chunk in chunks.items() for n in range(len(chunk) + 1)]
