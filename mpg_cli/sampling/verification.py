"""Verification: the accepted prefix of a drafted chunk, and the token after it (docs/algorithm.md, "Rules").

`verify` applies a rule to a batch; the functions below it are pure and work on one candidate.

Notation: chunk c of gamma tokens from prefix h; a_l = sum_{j<=l} (log p - log q) its log-ratio after l
tokens, a_0 = 0; m_1 <= ... <= m_gamma the thresholds, fixed before the pass; u_l independent uniforms;
L the length of the accepted prefix.
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
    """Outcome of a rule for one sequence: the tokens to commit, and their candidate."""

    draft: Sequence[int]  # the candidate's, up to its end token
    evaluated: int
    accepted: int
    tokens: Sequence[int]  # the accepted prefix and the token after it
    candidate: int = 0
    thresholds: tuple[float, ...] | None = None
    log_ratios: tuple[tuple[float, ...], ...] | None = None


def verify(
    states: Mapping[int, SequenceState],
    places: Mapping[int, int],
    draft: Draft,
    log_p: Tensor,
    sizes: Mapping[int, int],
    decoding: Decoding,
) -> dict[int, Verification]:
    """Verify the first `sizes[b]` drafted tokens of every slot b in `sizes`.

    log_p (n, N, T+1, V) is the target at each position, in the order of `places`; `decoding` has the rule and
    the noise of all these slots.
    """
    states = {b: states[b] for b in sizes}
    if not states:
        return {}
    if decoding.scheme.rule == "exact":
        return _exact(states, places, draft, log_p, sizes, decoding)
    rule = _block if decoding.scheme.rule == "block" else _threshold
    return {b: rule(b, state, draft, log_p[places[b]], sizes[b]) for b, state in states.items()}


# -- exact -----------------------------------------------------------------------------------------


def _exact(
    states: Mapping[int, SequenceState],
    places: Mapping[int, int],
    draft: Draft,
    log_p: Tensor,
    sizes: Mapping[int, int],
    decoding: Decoding,
) -> dict[int, Verification]:
    """Accept the prefix that the target chooses under the same noise, then add its next choice."""
    chunks = _chunks(states, draft, sizes)
    noise = decoding.noise.at(coupled_positions(states, draft, sizes), log_p)  # (n, V)
    batch = [places[b] for b, chunk in chunks.items() for _ in range(len(chunk) + 1)]
    position = [i for chunk in chunks.values() for i in range(len(chunk) + 1)]
    choices: list[int] = noise.add_(log_p[batch, 0, position]).argmax(dim=-1).tolist()  # n
    found = {}
    for b, chunk in chunks.items():
        own, choices = choices[: len(chunk) + 1], choices[len(chunk) + 1 :]
        accepted = accept_exact(chunk, own)
        found[b] = Verification(chunk, min(accepted + 1, len(chunk)), accepted, own[: accepted + 1])
    return found


def coupled_positions(
    states: Mapping[int, SequenceState], draft: Draft, sizes: Mapping[int, int]
) -> list[tuple[Gumbels, int]]:
    """Positions of the coupled noise of rule `exact` that the target uses along the chunks."""
    return [
        (states[b].gumbels, len(states[b].tokens) + n)
        for b, chunk in _chunks(states, draft, sizes).items()
        for n in range(len(chunk) + 1)
    ]


def _chunks(
    states: Mapping[int, SequenceState], draft: Draft, sizes: Mapping[int, int]
) -> dict[int, list[int]]:
    """The drafted tokens of each slot, up to its end token."""
    return {b: state.decoding.until_end(draft.lists[b][0], sizes[b]) for b, state in states.items()}


def accept_exact(draft: Sequence[int], choices: Sequence[int]) -> int:
    """L, the length of the common prefix of the drafted tokens and the target's choices."""
    for length, (drafted, chosen) in enumerate(zip(draft, choices, strict=False)):
        if drafted != chosen:
            return length
    return len(draft)


# -- threshold -------------------------------------------------------------------------------------


def _threshold(b: int, state: SequenceState, draft: Draft, log_p: Tensor, size: int) -> Verification:
    """Verify each candidate's W chunks against the window's thresholds; the longest accepted prefix stays."""
    assert state.window is not None
    decoding = state.decoding
    gamma = max(1, decoding.scheme.chunk_size or 0)
    start = len(state.tokens)
    drafts = [decoding.until_end(own, size) for own in draft.lists[b][: decoding.candidates]]
    m = state.window.thresholds(min(gamma, size))  # fixed before this pass
    ratios = [_log_ratios(c, size, gamma, log_p[n], draft.log_q[b, n]) for n, c in enumerate(drafts)]
    accepted, verified = [], []
    for n, chunks in enumerate(ratios):
        u = [
            [state.noise.uniform(start, verify_stream(n), w * gamma + i) for i in range(len(a))]
            for w, a in enumerate(chunks)
        ]
        length, reached = accept_chunks(chunks, m, u)
        accepted.append(length)  # counts padding after an end token: the choice must not depend on the end
        verified += chunks[:reached]
    for chunks in ratios:
        state.window.add(chunks)
    best = accepted.index(max(accepted))
    chunk = drafts[best]
    length = min(accepted[best], len(chunk))
    token = _next_token(log_p[best, length], state)
    return Verification(chunk, len(chunk), length, [*chunk[:length], token], best, m, tuple(verified))


def _log_ratios(
    chunk: Sequence[int], size: int, gamma: int, log_p: Tensor, log_q: Tensor
) -> list[tuple[float, ...]]:
    """a_1 .. a_gamma of every chunk of a candidate, each from its own start, in float64.

    After an end token both sides are padding, and a stays constant.
    """
    position = torch.arange(len(chunk))
    of_chunk = log_p[position, torch.tensor(chunk, dtype=torch.long)].cpu().double()  # MPS has no float64
    steps = (of_chunk - log_q[: len(chunk)].cpu().double()).tolist()  # len(chunk)
    steps += [0.0] * (size - len(chunk))
    return [tuple(accumulate(steps[w : w + gamma])) for w in range(0, size, gamma)]


def accept_chunks(
    chunks: Sequence[Sequence[float]], m: Sequence[float], u: Sequence[Sequence[float]]
) -> tuple[int, int]:
    """Test W consecutive chunks: (accepted tokens, verified chunks).

    The log-ratios a of each chunk count from its own start, and its last threshold tests it whole. The first
    chunk that is not accepted whole is the last one, of which a prefix may be salvaged. A chunk cut short by
    the token limit has fewer tests.
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
    """Test l = gamma ... 1 against u_l; the first success accepts l tokens, no success 0."""
    for length in range(len(a), 0, -1):
        if u[length - 1] < accept_probability(length, a, m):
            return length
    return 0


def accept_probability(length: int, a: Sequence[float], m: Sequence[float]) -> float:
    """B_l: the probability that the test at l accepts l tokens, given that the longer ones failed.

    B_gamma = min(1, e^{a_gamma - m_gamma}); for l < gamma: 1 if a_l >= m_l, else
    e^{a_l} (e^{-m_l} - e^{-m_{l+1}}) / (1 - e^{a_l - m_{l+1}}).
    If no a_l exceeds m_l, P(L >= l) = e^{-m_l} for any text, and the accepted prefix is distributed as p.
    """
    a_l, m_l = a[length - 1], m[length - 1]
    if a_l >= m_l:
        return 1.0
    if length == len(a):
        return math.exp(a_l - m_l)
    m_next = m[length]
    return math.exp(a_l) * (math.exp(-m_l) - math.exp(-m_next)) / -math.expm1(a_l - m_next)


# -- block -----------------------------------------------------------------------------------------


def _block(b: int, state: SequenceState, draft: Draft, log_p: Tensor, size: int) -> Verification:
    """Block verification, then one token of the residual distribution."""
    chunk = state.decoding.until_end(draft.lists[b][0], size)
    log_q = draft.log_q_of(b, log_p.shape[-1]).to(log_p.device)[: len(chunk)]  # (len(chunk), V)
    u = [state.noise.uniform(len(state.tokens), verify_stream(0), i) for i in range(len(chunk))]
    h, residual = block_acceptance(log_p[0, : len(chunk) + 1], log_q, chunk)  # residual (len(chunk)+1, V)
    accepted = accept_block(h, u)
    token = _next_token(residual[accepted], state)
    return Verification(chunk, min(accepted + 1, len(chunk)), accepted, [*chunk[:accepted], token])


def block_acceptance(log_p: Tensor, log_q: Tensor, draft: Sequence[int]) -> tuple[list[float], Tensor]:
    """Block verification (Sun et al., arXiv 2403.10444): lossless for any q.

    log_p (gamma+1, V) and log_q (gamma, V) after 0, 1, ... drafted tokens.
    pi_0 = 1, pi_l = min(1, pi_{l-1} p/q); h_gamma = pi_gamma, h_l = S_l / (S_l + 1 - pi_l) with
    S_l = sum_v (pi_l p(v) - q(v))+.
    Returns h_1 .. h_gamma, and for every L = 0 .. gamma the distribution of the token after L accepted ones,
    as logarithms (gamma+1, V), not normalised: the residual (pi_L p - q)+, or p after the whole chunk.
    """
    gamma = len(draft)
    position, token = torch.arange(gamma), torch.tensor(draft, dtype=torch.long)
    steps: list[float] = (log_p[position, token] - log_q[position, token]).tolist()
    pi = [1.0]
    for step in steps:
        pi.append(min(1.0, pi[-1] * math.exp(min(step, 700.0))))
    scale = torch.tensor(pi[:gamma], dtype=log_p.dtype, device=log_p.device)
    rest = (scale[:, None] * log_p[:gamma].exp() - log_q.exp()).clamp(min=0)  # (gamma, V)
    mass = rest.sum(dim=-1, keepdim=True)  # (gamma, 1), S_0 .. S_{gamma-1}
    # A residual of 0 means that p equals q up to rounding: use p.
    residual = torch.cat([torch.where(mass > 0, rest.log(), log_p[:gamma]), log_p[gamma:]])  # (gamma+1, V)
    s: list[float] = mass[:, 0].tolist()
    # Where pi_l is 1 and S_l is 0, p equals q at the next position: a longer prefix is accepted anyway.
    h = [s[n] / (s[n] + 1 - pi[n]) if pi[n] < 1 else 1.0 for n in range(1, gamma)]
    return [*h, *pi[1:][-1:]], residual


def accept_block(h: Sequence[float], u: Sequence[float]) -> int:
    """L, the largest l with u_l <= h_l for independent uniforms u_l, or 0."""
    return max((n for n, (chance, draw) in enumerate(zip(h, u, strict=True), 1) if draw <= chance), default=0)


def _next_token(logits: Tensor, state: SequenceState) -> int:
    """Sample the token after the accepted prefix from unnormalised log-probabilities (V,)."""
    noise = state.decoding.noise.once(state.noise, len(state.tokens), TARGET, 0, logits)  # (V,)
    return int((logits + noise).argmax())
