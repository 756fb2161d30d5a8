"""How much of a drafted chunk is accepted, and which token follows (docs/algorithm.md, "Rules").

Below the rules for a batch (`verify`) stand their parts, pure functions on one candidate.

Notation: chunk c of gamma tokens from prefix h; a_l = sum_{j<=l} (log p - log q) its log-ratio after l
tokens, a_0 = 0; m_1 <= ... <= m_gamma the thresholds, fixed before the pass; u_l independent uniforms;
L the length of the prefix that is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from mpg_cli.sampling.drafters import Draft
from mpg_cli.sampling.noise import TARGET, Gumbels, verify_stream
from mpg_cli.sampling.state import Decoding, SequenceState


@dataclass(frozen=True)
class Verification:
    """What a rule decided about the drafts of one sequence: what is committed, and of which candidate."""

    draft: Sequence[int]  # the candidate's, up to its end token
    evaluated: int
    accepted: int
    tokens: Sequence[int]  # the accepted prefix and the token after it
    candidate: int = 0
    thresholds: tuple[float, ...] | None = None
    log_ratios: tuple[tuple[float, ...], ...] | None = None


def verify(
    states: Sequence[SequenceState], draft: Draft, log_p: Tensor, sizes: Mapping[int, int], how: Decoding
) -> dict[int, Verification]:
    """Verify the first `sizes[b]` drafted tokens of every sequence b that is named there.

    log_p (B, N, T+1, V) is the target at each position.
    """
    if how.scheme.rule == "exact":
        return _exact(states, draft, log_p, sizes, how)
    rule = _block if how.scheme.rule == "block" else _threshold
    return {b: rule(b, states[b], draft, log_p[b], size, how) for b, size in sizes.items()}


# -- exact -----------------------------------------------------------------------------------------


def _exact(
    states: Sequence[SequenceState], draft: Draft, log_p: Tensor, sizes: Mapping[int, int], how: Decoding
) -> dict[int, Verification]:
    """Accept while draft and target choose the same with the same noise; then the target's choice."""
    chunks = _chunks(draft, sizes, how)
    noise = how.noise.at(coupled_places(states, draft, sizes, how), log_p)  # (n, V)
    of = [b for b, chunk in chunks.items() for _ in range(len(chunk) + 1)]
    place = [place for chunk in chunks.values() for place in range(len(chunk) + 1)]
    choices: list[int] = noise.add_(log_p[of, 0, place]).argmax(dim=-1).tolist()  # n
    found = {}
    for b, chunk in chunks.items():
        own, choices = choices[: len(chunk) + 1], choices[len(chunk) + 1 :]
        accepted = accept_exact(chunk, own)
        found[b] = Verification(chunk, min(accepted + 1, len(chunk)), accepted, own[: accepted + 1])
    return found


def coupled_places(
    states: Sequence[SequenceState], draft: Draft, sizes: Mapping[int, int], how: Decoding
) -> list[tuple[Gumbels, int]]:
    """The noise of rule `exact` and the positions in it at which the target chooses along the chunks."""
    return [
        (states[b].gumbels, len(states[b].tokens) + n)
        for b, chunk in _chunks(draft, sizes, how).items()
        for n in range(len(chunk) + 1)
    ]


def _chunks(draft: Draft, sizes: Mapping[int, int], how: Decoding) -> dict[int, list[int]]:
    """What was drafted for each sequence, up to its end."""
    return {b: how.until_end(draft.tokens[b, 0].tolist(), size) for b, size in sizes.items()}


def accept_exact(draft: Sequence[int], choices: Sequence[int]) -> int:
    """L, the first place where the gamma drafted tokens differ from the target's choices under one noise."""
    for length, (drafted, chosen) in enumerate(zip(draft, choices, strict=False)):
        if drafted != chosen:
            return length
    return len(draft)


# -- threshold -------------------------------------------------------------------------------------


def _threshold(
    b: int, state: SequenceState, draft: Draft, log_p: Tensor, size: int, how: Decoding
) -> Verification:
    """Verify each candidate's W chunks against the window's thresholds; the longest accepted prefix stays."""
    assert state.window is not None
    gamma = max(1, how.scheme.chunk_size or 0)
    start = len(state.tokens)
    drafts = [how.until_end(candidate, size) for candidate in draft.tokens[b].tolist()]
    m = state.window.thresholds(min(gamma, size))  # fixed before this pass
    ratios = [_log_ratios(c, size, gamma, log_p[n], draft.log_q[b, n]) for n, c in enumerate(drafts)]
    accepted, verified = [], []
    for n, chunks in enumerate(ratios):
        u = [
            [state.noise.uniform(start, verify_stream(n), w * gamma + place) for place in range(len(a))]
            for w, a in enumerate(chunks)
        ]
        length, reached = accept_chunks(chunks, m, u)
        accepted.append(length)  # padding behind an end token counts: what is accepted must not depend on it
        verified += chunks[:reached]
    for chunks in ratios:
        state.window.add(chunks)
    best = accepted.index(max(accepted))
    chunk = drafts[best]
    length = min(accepted[best], len(chunk))
    token = _next_token(log_p[best, length], state, how)
    return Verification(chunk, len(chunk), length, [*chunk[:length], token], best, m, tuple(verified))


def _log_ratios(
    chunk: Sequence[int], size: int, gamma: int, log_p: Tensor, log_q: Tensor
) -> list[tuple[float, ...]]:
    """a_1 .. a_gamma of every chunk of a candidate, each from its own start, in float64.

    After an end token both sides pad and a stays.
    """
    place = torch.arange(len(chunk))
    of_chunk = log_p[place, torch.tensor(chunk, dtype=torch.long)].cpu().double()  # MPS has no float64
    steps = (of_chunk - log_q[: len(chunk)].cpu().double()).tolist()  # len(chunk)
    steps += [0.0] * (size - len(chunk))
    return [tuple(accumulate(steps[w : w + gamma])) for w in range(0, size, gamma)]


def accept_chunks(
    chunks: Sequence[Sequence[float]], m: Sequence[float], u: Sequence[Sequence[float]]
) -> tuple[int, int]:
    """Several chunks drafted one after the other: (tokens accepted, chunks verified).

    Each chunk has its log-ratios a from its own start and is tested whole by its last threshold; the first
    that is not accepted whole is salvaged and ends it. A chunk cut short by the token limit has fewer tests.
    """
    accepted = verified = 0
    for a, uniforms in zip(chunks, u, strict=True):
        verified += 1
        length = accept_threshold(a, m[: len(a)], uniforms)
        accepted += length
        if length < len(a):
            break
    return accepted, verified


def accept_threshold(a: Sequence[float], m: Sequence[float], u: Sequence[float]) -> int:
    """Test l = gamma ... 1 with u_l each; the first success accepts l tokens, else 0."""
    for length in range(len(a), 0, -1):
        if u[length - 1] < accept_probability(length, a, m):
            return length
    return 0


def accept_probability(length: int, a: Sequence[float], m: Sequence[float]) -> float:
    """B_l: the chance that a test at l accepts l tokens, given that longer ones failed.

    B_gamma = min(1, e^{a_gamma - m_gamma}); for l < gamma: 1 if a_l >= m_l, else
    e^{a_l} (e^{-m_l} - e^{-m_{l+1}}) / (1 - e^{a_l - m_{l+1}}).
    If no a_l exceeds m_l, P(L >= l) = e^{-m_l} whatever the text, and the accepted prefix has law p.
    """
    a_l, m_l = a[length - 1], m[length - 1]
    if a_l >= m_l:
        return 1.0
    if length == len(a):
        return math.exp(a_l - m_l)
    after = m[length]
    return math.exp(a_l) * (math.exp(-m_l) - math.exp(-after)) / -math.expm1(a_l - after)


# -- block -----------------------------------------------------------------------------------------


def _block(
    b: int, state: SequenceState, draft: Draft, log_p: Tensor, size: int, how: Decoding
) -> Verification:
    """Block verification, then one token of what the draft has left of the target."""
    chunk = how.until_end(draft.tokens[b, 0].tolist(), size)
    log_q = draft.log_law(b, log_p.shape[-1]).to(log_p.device)[: len(chunk)]  # (len(chunk), V)
    u = [state.noise.uniform(len(state.tokens), verify_stream(0), place) for place in range(len(chunk))]
    h, laws = block_chances(log_p[0, : len(chunk) + 1], log_q, chunk)  # laws (len(chunk)+1, V)
    accepted = accept_block(h, u)
    token = _next_token(laws[accepted], state, how)
    return Verification(chunk, min(accepted + 1, len(chunk)), accepted, [*chunk[:accepted], token])


def block_chances(log_p: Tensor, log_q: Tensor, draft: Sequence[int]) -> tuple[list[float], Tensor]:
    """Block verification (Sun et al., arXiv 2403.10444): lossless whatever q is.

    log_p (gamma+1, V) and log_q (gamma, V) after 0, 1, ... drafted tokens.
    pi_0 = 1, pi_l = min(1, pi_{l-1} p/q); h_gamma = pi_gamma, h_l = S_l / (S_l + 1 - pi_l) with
    S_l = sum_v (pi_l p(v) - q(v))+.
    Returns h_1 .. h_gamma, and for every L = 0 .. gamma the law of the token after L accepted ones, as
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
    # Where pi_l is 1 and S_l is 0, p is q at the next place: a longer prefix is accepted anyway.
    h = [s[n] / (s[n] + 1 - pi[n]) if pi[n] < 1 else 1.0 for n in range(1, gamma)]
    return [*h, *pi[1:][-1:]], laws


def accept_block(h: Sequence[float], u: Sequence[float]) -> int:
    """L, the largest l with u_l <= h_l, independent uniforms u_l; else 0."""
    return max((n for n, (chance, draw) in enumerate(zip(h, u, strict=True), 1) if draw <= chance), default=0)


def _next_token(law: Tensor, state: SequenceState, how: Decoding) -> int:
    """A token of `law`, logarithms (V,) up to a constant, with the noise of the target's token of a round."""
    return int((law + how.noise.once(state.noise, len(state.tokens), TARGET, 0, law)).argmax())
