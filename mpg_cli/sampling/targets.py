"""The target p, computed from the scores of the rows (docs/algorithm.md, "The target"). Pure functions.

`combine` combines the rows, `plausible` finds the tokens that a row alone would say, `reshape` applies
penalties and bias, that restriction, temperature, top-k, top-p and min-p to the result; the drafter's q is
reshaped in the same way, without the restriction.

Notation: log_probs (R, ..., V) are log-softmaxed rows, row 0 the reference pi_0, row i expert pi_i;
weights w (K,), K = R - 1; delta_i = log pi_i - log pi_0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mpg_cli.sampling.params import SamplingLaw, TargetName
from mpg_cli.sampling.scorer import to_device

FLOOR = -1e4  # stands for log 0 in a ratio: finite, so that no weight turns it into NaN
MIN_TEMPERATURE = 1e-30  # float32 rounds smaller ones to 0; far above it sampling is greedy already
_ROUNDING = 1e-9  # of a sum of weights
HEAD = 1024  # likeliest tokens, which nearly always hold the nucleus; sorting the vocabulary is slow


# -- the rows, combined ----------------------------------------------------------------------------


def combine(target: TargetName, log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p (..., V), normalised, from log_probs (R, ..., V) and weights (K,), or (K, b) where the second
    dimension of log_probs has b slots of different weights.
    """
    if target == "merged":  # one row, whose weights are merged already
        return log_probs[0].clone()
    return product(log_probs, weights) if target == "product" else mixture(log_probs, weights)


def product(log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p = log pi_0 + sum_i w_i delta_i, normalised: the log-linear pool.

    p is 0 where pi_0 or an expert of positive weight is 0; an expert of negative weight that is 0 counts
    with the finite ratio FLOOR.
    """
    linear = torch.cat([1 - weights.sum(0, keepdim=True), weights])  # (R,) or (R, b)
    combined = _weighted_sum(_along_slots(linear, log_probs), log_probs)  # (..., V)
    if not bool(combined.sum().isfinite()):  # one check for all: NaN and infinity survive a sum
        combined = combined.where(combined.isfinite(), _product_with_zeros(log_probs, weights))
    return torch.log_softmax(combined, dim=-1)


def _weighted_sum(weights: Tensor, terms: Tensor) -> Tensor:
    """sum_r w_r x_r over the rows of terms (R, ..., V), in their order.

    Products and sums are rounded one by one, so that an entry has the same bits whatever stands beside it;
    `tensordot` and `sum` choose their order by the shape.
    """
    total = terms[0] * weights[0]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        total += term * weight
    return total


def _product_with_zeros(log_probs: Tensor, weights: Tensor) -> Tensor:
    reference, experts = log_probs[0], log_probs[1:]
    w = _along_slots(weights, log_probs)  # (K, 1 or b, ...)
    combined = reference + _weighted_sum(w, _delta(reference, experts))  # (..., V)
    impossible = ((experts == -torch.inf) & (w > 0)).any(0) | (reference == -torch.inf)
    return combined.masked_fill(impossible, -torch.inf)


def _along_slots(weights: Tensor, log_probs: Tensor) -> Tensor:
    """Weights (n,) or (n, b) with as many dimensions as log_probs (R, ..., V)."""
    return weights.view(*weights.shape, *[1] * (log_probs.dim() - weights.dim()))


def _delta(reference: Tensor, experts: Tensor) -> Tensor:
    """Log density ratios, finite: 0 where both probabilities are 0, at most |FLOOR| elsewhere."""
    return (experts - reference).nan_to_num(nan=0.0).clamp(FLOOR, -FLOOR)


def mixture(log_probs: Tensor, weights: Tensor) -> Tensor:
    """p = sum_i w_i pi_i with the weights normalised to 1: the linear pool. Weights must be positive."""
    shares = _along_slots((weights / weights.sum(0)).log(), log_probs)  # (K, 1 or b, ...)
    terms = shares + log_probs[1:]  # (K, ..., V)
    top = terms.amax(dim=0).clamp(min=-torch.finfo(terms.dtype).max)  # finite where all are log 0
    total = torch.zeros_like(top)
    for term in terms:  # in their order, as in `_weighted_sum`
        total += (term - top).exp()
    return torch.log_softmax(total.log() + top, dim=-1)


def extrapolates(weights: Sequence[float]) -> bool:
    """Whether a product of these weights leaves the region between its rows, where 1 - sum_i w_i and all w_i
    are at least 0.
    """
    return math.fsum(weights) > 1 + _ROUNDING or min(weights, default=0.0) < 0


def plausible(rows: Iterable[Tensor], weights: Tensor, least: float) -> Tensor:
    """The tokens (..., V) that have at least `least` times the largest probability in one row: the reference
    or an expert of positive weight. Rows (..., V) in the order of `combine`, penalised; weights as there.

    A product that extrapolates multiplies what experts have in common, up to tokens that none of them would
    say. The restriction is that of contrastive decoding (Li et al., arXiv 2210.15097, "adaptive
    plausibility"), there by one model.
    """
    counted = torch.cat([weights.new_ones(1, *weights.shape[1:]), weights]) > 0  # (R,) or (R, b)
    kept: Tensor | None = None
    for counts, row in zip(counted, rows, strict=True):
        likely = (row >= row.amax(dim=-1, keepdim=True) + math.log(least)) & _along_slots(counts, row)
        kept = likely if kept is None else kept | likely
    assert kept is not None
    return kept


def contributions(target: TargetName, log_probs: Tensor, weights: Tensor) -> Tensor:
    """Contribution of each expert to chosen tokens, from their log_probs (R, ...) -> (..., K).

    Product: the log-ratio contribution w_i delta_i. Mixture: the responsibility w_i pi_i / sum_j w_j pi_j.
    Merged: undefined, so K is 0.
    """
    if target == "merged":
        return log_probs[0][..., None][..., :0]
    w = _along_slots(weights, log_probs)  # (K, 1 or b, ...)
    if target == "product":
        return (w * _delta(log_probs[0], log_probs[1:])).movedim(0, -1)
    return torch.softmax(w.log() + log_probs[1:], dim=0).movedim(0, -1)


# -- the combined distribution, reshaped -----------------------------------------------------------


def reshape(
    log_p: Tensor,
    normaliser: Tensor,
    sampling: SamplingLaw,
    seen: Seen | None,
    drafted: Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised, restricted to the tokens `kept` and warped.

    Other arguments: see `penalise`.
    """
    log_p = penalise(log_p, normaliser, sampling, seen, drafted)
    return warp(log_p if kept is None else restrict(log_p, kept), sampling)


def restrict(log_p: Tensor, kept: Tensor) -> Tensor:
    """log_p (..., V), normalised -> the same on the tokens `kept`; unchanged where that is all or nothing."""
    inside = log_p.masked_fill(~kept, -torch.inf)
    unchanged = kept.all(dim=-1, keepdim=True) | (inside.amax(dim=-1, keepdim=True) == -torch.inf)
    return torch.where(unchanged, log_p, torch.log_softmax(inside, dim=-1))


@dataclass(frozen=True)
class Seen:
    """Distinct tokens of B prompts and replies, for penalties: ids (B, S), padded by repeating the first;
    their counts in the reply (B, S); and whether there are any, (B, 1).
    """

    ids: Tensor
    counts: Tensor
    any: Tensor

    @classmethod
    def of(cls, counts: Sequence[Counter[int]]) -> Seen:
        """From the count of each token in the reply so far; tokens of the prompt alone have 0."""
        size = max(1, *map(len, counts))
        ids, times = [], []
        for own in counts:
            keys, values = list(own) or [0], list(own.values()) or [0]
            ids.append(keys + keys[:1] * (size - len(keys)))
            times.append(values + values[:1] * (size - len(values)))
        return cls(torch.tensor(ids), torch.tensor(times), torch.tensor([[bool(own)] for own in counts]))

    def on(self, device: torch.device) -> Seen:
        """The same on `device`."""
        return Seen(to_device(self.ids, device), to_device(self.counts, device), to_device(self.any, device))


def penalise(
    log_p: Tensor, normaliser: Tensor, sampling: SamplingLaw, seen: Seen | None, drafted: Tensor
) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised and normalised; P positions along a draft.

    `seen` (required where `sampling.looks_back`) and drafted (B, N, T) are on the device of log_p. P is T + 1
    for all positions of a draft, 1 for the position after it.

    The repetition penalty acts on logits, as in transformers (Keskar et al., CTRL, arXiv 1909.05858):
    z / rho where z > 0, else z * rho, for tokens of the reply and of the reference row's prompt. The target
    has no logits of its own. z = log_p + normaliser, with normaliser (B, N, P) the logsumexp of the
    reference's logits, has the scale of logits; where all weights are 0 it is the reference's logit. Presence
    and frequency penalties are subtracted for tokens of the reply alone, as in the OpenAI API; the bias is
    added.
    """
    if not sampling.penalises:
        return log_p
    log_p = log_p.clone()
    if sampling.looks_back:
        assert seen is not None
        ids, counts, known = _along(seen, drafted, log_p.shape[2])  # (B, N, S+T), twice (B, N, P, S+T)
        at = ids[:, :, None].expand_as(counts)  # (B, N, P, S+T)
        z = log_p.gather(-1, at) + normaliser[..., None]
        if sampling.repetition_penalty != 1:
            rho = sampling.repetition_penalty
            z = torch.where(known, torch.where(z > 0, z / rho, z * rho), z)
        z = z - sampling.presence_penalty * (counts > 0) - sampling.frequency_penalty * counts
        log_p.scatter_(-1, at, z - normaliser[..., None])  # duplicate ids write equal values
    if sampling.logit_bias:
        tokens, added = _bias(sampling.logit_bias, log_p.device)
        log_p[..., tokens] += added.to(log_p.dtype)
    return torch.log_softmax(log_p, dim=-1)


@lru_cache(maxsize=64)
def _bias(bias: tuple[tuple[int, float], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and their biases, on a device."""
    ids, values = zip(*bias, strict=True)
    return to_device(torch.tensor(ids), device), to_device(torch.tensor(values), device)


def _along(seen: Seen, drafted: Tensor, positions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids of prompt, reply and draft (B, N, S+T); for each of P positions along the draft their counts in the
    reply so far (B, N, P, S+T), and whether they occur in the prompt or the reply so far (B, N, P, S+T).
    """
    B, N = drafted.shape[:2]
    base, times = (x[:, None].expand(B, N, -1) for x in (seen.ids, seen.counts))  # (B, N, S)
    ids = torch.cat([base, drafted], dim=2)  # (B, N, S+T)
    same = (drafted[..., None] == base[:, :, None]) & seen.any[:, None, None]  # (B, N, T, S)
    committed = torch.cat([times, (same * times[:, :, None]).amax(dim=-1)], dim=2)  # (B, N, S+T)
    before = torch.cat([seen.any[:, None].expand_as(base), same.any(dim=-1)], dim=2)  # (B, N, S+T)
    hits = ids[..., None] == drafted[:, :, None]  # (B, N, S+T, T)
    if positions == 1:
        running = hits.sum(dim=-1, keepdim=True)  # (B, N, S+T, 1)
    else:
        running = torch.nn.functional.pad(hits.cumsum(dim=-1), (1, 0))  # (B, N, S+T, T+1)
    counts = committed[:, :, None] + running.transpose(2, 3)  # (B, N, P, S+T)
    return ids, counts, before[:, :, None] | (counts > 0)


def warp(log_p: Tensor, sampling: SamplingLaw) -> Tensor:
    """log_p (..., V) normalised -> the same, warped and normalised: temperature, top-k, top-p, min-p.

    Temperature 0 puts all mass on the likeliest token (ties: the lowest id).
    """
    if sampling.greedy:
        best = log_p.argmax(dim=-1, keepdim=True)  # (..., 1)
        return torch.full_like(log_p, -torch.inf).scatter_(-1, best, 0.0)
    if sampling.temperature != 1:
        log_p = (log_p - log_p.amax(dim=-1, keepdim=True)) / max(sampling.temperature, MIN_TEMPERATURE)
        log_p = torch.log_softmax(log_p, dim=-1)
    if not sampling.truncates:
        return log_p
    if sampling.top_k and sampling.top_k < log_p.shape[-1]:
        least = log_p.topk(sampling.top_k, dim=-1).values[..., -1:]  # (..., 1)
        log_p = torch.log_softmax(log_p.masked_fill(log_p < least, -torch.inf), dim=-1)
    if sampling.top_p < 1:
        log_p = _nucleus(log_p, sampling.top_p)
    if sampling.min_p > 0:
        least = log_p.amax(dim=-1, keepdim=True) + math.log(sampling.min_p)
        log_p = torch.log_softmax(log_p.masked_fill(log_p < least, -torch.inf), dim=-1)
    return log_p


def _nucleus(log_p: Tensor, top_p: float) -> Tensor:
    """The smallest set of likeliest tokens with mass `top_p` (ties: the lowest ids), normalised."""
    ordered, ids = _likeliest(log_p, top_p)  # (..., n)
    mass = ordered.exp()
    inside = mass.cumsum(dim=-1) - mass < top_p  # the mass before the token
    inside[..., 0] = True
    nucleus = torch.zeros_like(log_p, dtype=torch.bool).scatter_(-1, ids, inside)
    return torch.log_softmax(log_p.masked_fill(~nucleus, -torch.inf), dim=-1)


def _likeliest(log_p: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities and ids in descending order: of HEAD tokens where they suffice, else of all."""
    if log_p.shape[-1] > 2 * HEAD and log_p.device.type == "cpu":  # a GPU sorts faster than it checks
        ordered, ids = log_p.topk(HEAD, dim=-1)
        # topk takes any of several equal values at the end: the nucleus must lie above them.
        above = ordered > ordered[..., -1:]
        if bool(((ordered.exp() * above).sum(dim=-1) >= top_p).all()):
            by_id = ids.sort(dim=-1).indices
            ordered, ids = ordered.gather(-1, by_id), ids.gather(-1, by_id)
            ordered, order = ordered.sort(dim=-1, descending=True, stable=True)
            return ordered, ids.gather(-1, order)
    ordered, ids = log_p.sort(dim=-1, descending=True, stable=True)
    return ordered, ids
