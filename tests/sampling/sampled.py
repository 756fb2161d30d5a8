"""Replies sampled on a hand-written model of four tokens, and their law by exhaustive enumeration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from mpg_cli.sampling.chunk_size import Cost
from mpg_cli.sampling.drafters import Drafter, LookupDrafter, RowDrafter, SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import RuleName, SamplingLaw, Scheme, TargetName, Threshold
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.state import Decoding, SequenceState
from mpg_cli.sampling.targets import combine, warp
from tests.sampling.fake import END, VOCABULARY, FakeScorer, Law, random_law, scale

ROWS = (0, 1, 2)  # the reference and two experts
MERGED = 9  # a row of its own: close to the target or not, any law serves as a drafter
LOOKUP = -1
DRAFTERS = {"reference": 0, "persona": 2, "merged": MERGED, "none": None, "lookup": LOOKUP}
PROMPT = [0, 1, 2, 2, 0, 1, 1, 2, 0]  # where a lookup may find the reply's last tokens
LENGTH = 3
PENALISED = (2,)  # the prompt, as far as penalties see it
WEIGHTS = (1.0, 0.8)


def decoding(
    weights: tuple[float, ...] = WEIGHTS,
    *,
    target: TargetName = "product",
    rule: RuleName = "exact",
    chunk_size: int | None = 4,
    threshold: Threshold = Threshold(),  # noqa: B008
    ends: bool = True,
    cost: Cost = Cost(),  # noqa: B008
    **sampling: Any,
) -> Decoding:
    """`ends`: END ends a reply; `sampling` are the fields of SamplingLaw."""
    scheme = Scheme(target=target, rule=rule, chunk_size=chunk_size, threshold=threshold)
    return Decoding(SamplingLaw(**sampling), scheme, weights, frozenset({END} if ends else ()), cost)


def with_scheme(how: Decoding, **changes: Any) -> Decoding:
    """The same with another rule, chunk size, ..."""
    return replace(how, scheme=replace(how.scheme, **changes))


def drafter_of(row: int | None, batch: int = 1, candidates: int = 1, law: Law = random_law) -> Drafter | None:
    """A drafter by its row; LOOKUP is an n-gram lookup with PROMPT, None drafts nothing."""
    if row is None:
        return None
    if row == LOOKUP:
        lookup = LookupDrafter()
        for slot in range(batch):
            lookup.insert(slot, PROMPT)
        return lookup
    return RowDrafter(FakeScorer(law, (row,), batch, candidates))


def sampler_of(
    drafter: int | None, states: Sequence[SequenceState], law: Law = random_law, **more: Any
) -> Sampler:
    """A sampler over the fake rows; all states have the same number of candidates."""
    batch, candidates = len(states), states[0].decoding.candidates
    scorer = FakeScorer(law, ROWS, batch, candidates)
    drafters = SlotDrafters.all(drafter_of(drafter, batch, candidates, law), batch)
    return Sampler(scorer, drafters, states, **more)


def sample(
    how: Decoding,
    drafter: int | None,
    sequences: Sequence[int | str],
    seed: int = 7,
    limit: int = LENGTH,
    **more: Any,
) -> list[SequenceState]:
    """One batch of replies from the empty prompt."""
    states = [SequenceState(Noise(seed, s), how, limit, PENALISED) for s in sequences]
    for _ in sampler_of(drafter, states, **more).run():
        pass
    return states


def penalised(
    log_p: torch.Tensor, normaliser: float, how: SamplingLaw, prefix: tuple[int, ...]
) -> torch.Tensor:
    """The penalties of docs/algorithm.md, token by token."""
    z = [float(x) + normaliser for x in log_p]
    for token in range(VOCABULARY):
        if token in (*PENALISED, *prefix):
            z[token] = (
                z[token] / how.repetition_penalty if z[token] > 0 else z[token] * how.repetition_penalty
            )
        z[token] -= how.presence_penalty * (token in prefix) + how.frequency_penalty * prefix.count(token)
        z[token] += dict(how.logit_bias).get(token, 0.0)
    return torch.tensor(z, dtype=torch.float64).log_softmax(-1)


def said_alone(rows: torch.Tensor, weights: Sequence[float], least: float) -> list[bool]:
    """For each token of rows (R, V): whether the reference or an expert of positive weight would say it."""
    if sum(weights) <= 1 and min(weights) >= 0:
        return [True] * rows.shape[-1]
    counted = [rows[0], *(row for row, weight in zip(rows[1:], weights, strict=True) if weight > 0)]
    p = [row.exp().tolist() for row in counted]
    return [any(own[token] >= least * max(own) for own in p) for token in range(len(p[0]))]


def reply_law(how: Decoding, law: Law = random_law, limit: int = LENGTH) -> dict[tuple[int, ...], float]:
    """The target's probability of every reply, by enumeration."""
    scorer = FakeScorer(law, ROWS)
    weights = torch.tensor(how.weights)

    def grow(prefix: tuple[int, ...], mass: float) -> dict[tuple[int, ...], float]:
        if len(prefix) == limit or prefix[-1:] == (END,):
            return {prefix: mass}
        log_p = combine(how.scheme.target, scorer.log_probs(prefix), weights)
        log_p = penalised(log_p, scale(ROWS[0], prefix), how.sampling, prefix)
        if how.sampling.expert_min_p:
            rows = [
                penalised(row, scale(at, prefix), how.sampling, prefix)
                for at, row in zip(ROWS, scorer.log_probs(prefix), strict=True)
            ]
            said = said_alone(torch.stack(rows), how.weights, how.sampling.expert_min_p)
            log_p = log_p.masked_fill(~torch.tensor(said), -torch.inf).log_softmax(-1)
        p = warp(log_p, how.sampling).exp()
        leaves: dict[tuple[int, ...], float] = {}
        for token in range(VOCABULARY):
            if p[token] > 0:
                leaves |= grow((*prefix, token), mass * float(p[token]))
        return leaves

    return grow((), 1.0)


def chi_square(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> tuple[float, int]:
    """Pearson's statistic with cells of expectation under 5 pooled, and its degrees of freedom."""
    draws = counts.total()
    cells = [(counts[r], draws * p) for r, p in law.items() if draws * p >= 5]
    rest_seen, rest = draws - sum(c for c, _ in cells), draws - sum(e for _, e in cells)
    if rest >= 1:
        cells.append((rest_seen, rest))
    return sum((c - e) ** 2 / e for c, e in cells), len(cells) - 1


def assert_law(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> None:
    """Fails by chance about once in 10^6 (Wilson-Hilferty: chi-square beyond 4.75 sigma)."""
    assert set(counts) <= set(law), "a reply of probability zero was sampled"
    statistic, degrees = chi_square(counts, law)
    cube = (statistic / degrees) ** (1 / 3)
    spread = math.sqrt(2 / (9 * degrees))
    assert (cube - (1 - 2 / (9 * degrees))) / spread < 4.75


CASES = {
    "product": decoding(),
    "negative": decoding((1.5, -0.7)),
    "mixture": decoding((1.0, 0.5), target="mixture"),
    "top-p": decoding((1.0, 1.0), top_p=0.8, temperature=1.3),
    "penalties": decoding(
        (1.0, 1.0),
        repetition_penalty=1.5,
        presence_penalty=0.4,
        frequency_penalty=-0.3,
        logit_bias=((1, 0.7), (2, -0.2)),
        min_p=0.05,
    ),
    "said alone": decoding((1.5, 0.9), expert_min_p=0.5, temperature=1.3),
    "said alone, against": decoding((1.6, -0.8), expert_min_p=0.1, repetition_penalty=1.5),
    "greedy": decoding((1.0, 1.0), temperature=0.0),
}
