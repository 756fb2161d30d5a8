"""How a drafted chunk is judged (algorithm page, section 4). Pure functions on one candidate.

Notation: chunk c of gamma tokens from prefix h; a_l = sum_{j<=l} (log p - log q) its log-ratio after l
tokens, a_0 = 0; m_1 <= ... <= m_gamma the thresholds, fixed before the pass; u_l independent uniforms.
Each judge returns L, the length of the prefix that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["exact", "threshold", "block"]


@dataclass(frozen=True)
class Verdict:
    """What a rule decided about the drafts of one reply: what is committed, and of which candidate."""

    draft: Sequence[int]  # the candidate's, up to its end token
    tested: int
    kept: int
    tokens: Sequence[int]  # the kept prefix and the token after it
    candidate: int = 0
    thresholds: tuple[float, ...] | None = None
    log_ratios: tuple[tuple[float, ...], ...] | None = None


def judge_exact(draft: Sequence[int], choices: Sequence[int]) -> int:
    """Rule `exact`: keep while draft and target, moved by the same noise, choose the same token.

    Returns L, the first place where the gamma drafted tokens differ from the target's choices.
    """
    for length, (drafted, chosen) in enumerate(zip(draft, choices, strict=False)):
        if drafted != chosen:
            return length
    return len(draft)


def keep_probability(length: int, a: Sequence[float], m: Sequence[float]) -> float:
    """B_l of the threshold rule: the chance that a test at l keeps l tokens, given that longer ones failed.

    B_gamma = min(1, e^{a_gamma - m_gamma}); for l < gamma: 1 if a_l >= m_l, else
    e^{a_l} (e^{-m_l} - e^{-m_{l+1}}) / (1 - e^{a_l - m_{l+1}}).
    If no a_l exceeds m_l, P(keep >= l) = e^{-m_l} whatever the text, and the kept prefix has law p.
    """
    a_l, m_l = a[length - 1], m[length - 1]
    if a_l >= m_l:
        return 1.0
    if length == len(a):
        return math.exp(a_l - m_l)
    after = m[length]
    return math.exp(a_l) * (math.exp(-m_l) - math.exp(-after)) / -math.expm1(a_l - after)


def judge_threshold(a: Sequence[float], m: Sequence[float], u: Sequence[float]) -> int:
    """Rule `threshold`: test l = gamma ... 1 with u_l each; the first success keeps l tokens, else 0."""
    for length in range(len(a), 0, -1):
        if u[length - 1] < keep_probability(length, a, m):
            return length
    return 0


def judge_ahead(
    chunks: Sequence[Sequence[float]], m: Sequence[float], u: Sequence[Sequence[float]]
) -> tuple[int, int]:
    """Rule `threshold`, several chunks drafted one after the other: (tokens kept, chunks judged).

    Each chunk has its log-ratios a from its own start and is tested whole by its last threshold; the first
    that is not kept whole is salvaged and ends it. A chunk cut short by the token limit has fewer tests.
    """
    kept = judged = 0
    for a, uniforms in zip(chunks, u, strict=True):
        judged += 1
        length = judge_threshold(a, m[: len(a)], uniforms)
        kept += length
        if length < len(a):
            break
    return kept, judged


def block_chances(log_p: Tensor, log_q: Tensor, draft: Sequence[int]) -> tuple[list[float], Tensor]:
    """Rule `block` (block verification, Sun et al., arXiv 2403.10444): lossless whatever q is.

    log_p (gamma+1, V) and log_q (gamma, V) after 0, 1, ... drafted tokens.
    pi_0 = 1, pi_l = min(1, pi_{l-1} p/q); h_gamma = pi_gamma, h_l = S_l / (S_l + 1 - pi_l) with
    S_l = sum_v (pi_l p(v) - q(v))+.
    Returns h_1 .. h_gamma, and for every L = 0 .. gamma the law of the token after L kept ones, as
    logarithms (gamma+1, V) not normalised: (pi_L p - q)+, or p after the whole chunk.
    """
    gamma = len(draft)
    place, token = torch.arange(gamma), torch.tensor(draft, dtype=torch.long)
    steps: list[float] = (log_p[place, token] - log_q[place, token]).tolist()
    pi = [1.0]
    for step in steps:
        pi.append(min(1.0, pi[-1] * math.exp(min(step, 700.0))))
    scale = torch.tensor(pi[:gamma], dtype=log_p.dtype, device=log_p.device)
    rest = (scale[:, None] * log_p[:gamma].exp() - log_q.exp()).clamp(min=0)  # (gamma, V)
    mass = rest.sum(dim=-1, keepdim=True)  # (gamma, 1), S_0 .. S_{gamma-1}
    # Where rounding has left nothing p is q, and p stands for the rest.
    laws = torch.cat([torch.where(mass > 0, rest.log(), log_p[:gamma]), log_p[gamma:]])  # (gamma+1, V)
    s: list[float] = mass[:, 0].tolist()
    # Where pi_l is 1 and S_l is 0, p is q at the next place: a longer prefix stays anyway.
    h = [s[n] / (s[n] + 1 - pi[n]) if pi[n] < 1 else 1.0 for n in range(1, gamma)]
    return [*h, *pi[1:][-1:]], laws


def judge_block(h: Sequence[float], u: Sequence[float]) -> int:
    """Rule `block`: the largest l with u_l <= h_l, independent uniforms u_l; else 0."""
    return max((n for n, (chance, draw) in enumerate(zip(h, u, strict=True), 1) if draw <= chance), default=0)
