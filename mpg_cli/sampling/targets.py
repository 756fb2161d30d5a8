"""The target p: what is sampled, from the rows' scores (docs/algorithm.md, "The target"). Pure functions.

Combine the rows (`combine`), then reshape the result (`reshape`): penalties and bias, temperature, top-k,
top-p, min-p. The drafter's q is reshaped likewise.

Notation: log_probs (R, ..., V) are log-softmaxed rows, row 0 the reference pi_0, row i expert pi_i;
weights w (K,), K = R - 1; delta_i = log pi_i - log pi_0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mpg_cli.sampling.params import Sampling, TargetName
from mpg_cli.sampling.scorer import to_device

FLOOR = -1e4  # stands for log 0 in a ratio: finite, so that no weight turns it into NaN
COLDEST = 1e-30  # float32 would round less to 0; far above it all mass is on the best already
HEAD = 1024  # likeliest tokens that nearly always hold a nucleus; sorting a whole vocabulary is slow


# -- the rows, combined ----------------------------------------------------------------------------


def combine(target: TargetName, log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p (..., V), normalised, from log_probs (R, ..., V) and weights (K,)."""
    return product(log_probs, weights) if target == "product" else mixture(log_probs, weights)


def product(log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p = log pi_0 + sum_i w_i delta_i, normalised: the log-linear pool.

    Where pi_0 or an expert of positive weight gives 0, so does p; an expert of negative weight that
    gives 0 counts with the finite ratio FLOOR.
    """
    linear = torch.cat([1 - weights.sum(0, keepdim=True), weights])  # (R,)
    combined = torch.tensordot(linear, log_probs, dims=1)  # (..., V)
    if not bool(combined.sum().isfinite()):  # one look at all of them: NaN and infinity stay in a sum
        combined = _product_with_zeros(log_probs, weights)
    return torch.log_softmax(combined, dim=-1)


def _product_with_zeros(log_probs: Tensor, weights: Tensor) -> Tensor:
    reference, experts = log_probs[0], log_probs[1:]
    combined: Tensor = reference + torch.tensordot(weights, _delta(reference, experts), dims=1)  # (..., V)
    positive = weights > 0
    impossible = (experts[positive] == -torch.inf).any(0) | (reference == -torch.inf)
    return combined.masked_fill(impossible, -torch.inf)


def _delta(reference: Tensor, experts: Tensor) -> Tensor:
    """Log density ratios, finite: 0 where both are impossible, at most |FLOOR| elsewhere."""
    return (experts - reference).nan_to_num(nan=0.0).clamp(FLOOR, -FLOOR)


def mixture(log_probs: Tensor, weights: Tensor) -> Tensor:
    """p = sum_i w_i pi_i with the weights normalised to 1: the linear pool. Weights must be positive."""
    shares = (weights / weights.sum()).log().view(-1, *[1] * (log_probs.dim() - 1))  # (K, 1, ...)
    return torch.log_softmax(torch.logsumexp(shares + log_probs[1:], dim=0), dim=-1)


def contributions(target: TargetName, log_probs: Tensor, weights: Tensor) -> Tensor:
    """What each expert contributes to chosen tokens: their log_probs (R, ...) -> (..., K).

    Product: the log-ratio contribution w_i delta_i. Mixture: the responsibility w_i pi_i / sum_j w_j pi_j.
    """
    w = weights.view(-1, *[1] * (log_probs.dim() - 1))  # (K, 1, ...)
    if target == "product":
        return (w * _delta(log_probs[0], log_probs[1:])).movedim(0, -1)
    return torch.softmax(w.log() + log_probs[1:], dim=0).movedim(0, -1)


# -- the combined distribution, reshaped -----------------------------------------------------------


def reshape(log_p: Tensor, normaliser: Tensor, how: Sampling, seen: Seen | None, drafted: Tensor) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised and warped; arguments of `penalise`."""
    return warp(penalise(log_p, normaliser, how, seen, drafted), how)


@dataclass(frozen=True)
class Seen:
    """Distinct tokens of B prompts and replies, padded with repetitions: ids (B, S), how often each is in the
    reply (B, S), and whether there is any, (B, 1).
    """

    ids: Tensor
    counts: Tensor
    any: Tensor

    @classmethod
    def of(cls, counts: Sequence[Counter[int]]) -> Seen:
        """Of how often each token is in the reply so far, those of the prompt alone with 0."""
        size = max(1, *map(len, counts))
        ids, times = [], []
        for own in counts:
            keys, values = list(own) or [0], list(own.values()) or [0]
            ids.append(keys + keys[:1] * (size - len(keys)))
            times.append(values + values[:1] * (size - len(values)))
        return cls(torch.tensor(ids), torch.tensor(times), torch.tensor([[bool(own)] for own in counts]))

    def on(self, device: torch.device) -> Seen:
        """The same on a device."""
        return Seen(to_device(self.ids, device), to_device(self.counts, device), to_device(self.any, device))


def penalise(log_p: Tensor, normaliser: Tensor, how: Sampling, seen: Seen | None, drafted: Tensor) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised and normalised; P positions along a draft.

    `seen` (needed where `how` looks back) and drafted (B, N, T) are on the device of log_p. P = T + 1 for all
    positions of a draft, 1 for the position behind it.

    Repetition acts on logits, as in transformers (Keskar et al., CTRL, arXiv 1909.05858): z / rho where
    z > 0, else z * rho, for tokens of the reply and of the reference row's prompt. The target has no logits
    of its own; with normaliser (B, N, P), the logsumexp of the reference's, z = log_p + normaliser has the
    scale that the number rho is made for, and where all weights are 0 it is the reference's logit. Presence
    and frequency are subtracted for tokens of the reply alone, as in OpenAI's interface; the bias is added.
    """
    if not how.penalises:
        return log_p
    log_p = log_p.clone()
    if how.looks_back:
        assert seen is not None
        ids, counts, known = _along(seen, drafted, log_p.shape[2])  # (B, N, S+T), twice (B, N, P, S+T)
        at = ids[:, :, None].expand_as(counts)  # (B, N, P, S+T)
        z = log_p.gather(-1, at) + normaliser[..., None]
        if how.repetition_penalty != 1:
            rho = how.repetition_penalty
            z = torch.where(known, torch.where(z > 0, z / rho, z * rho), z)
        z = z - how.presence_penalty * (counts > 0) - how.frequency_penalty * counts
        log_p.scatter_(-1, at, z - normaliser[..., None])  # an id that is there twice gets the same twice
    if how.logit_bias:
        tokens, added = _bias(how.logit_bias, log_p.device)
        log_p[..., tokens] += added.to(log_p.dtype)
    return torch.log_softmax(log_p, dim=-1)


@lru_cache(maxsize=64)
def _bias(bias: tuple[tuple[int, float], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and what is added to them, on a device."""
    ids, values = zip(*bias, strict=True)
    return to_device(torch.tensor(ids), device), to_device(torch.tensor(values), device)


def _along(seen: Seen, drafted: Tensor, positions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids that may have been seen (B, N, S+T), and for P positions along the draft how often each is in the
    reply (B, N, P, S+T) and whether it was seen (B, N, P, S+T).
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


def warp(log_p: Tensor, how: Sampling) -> Tensor:
    """log_p (..., V) normalised -> the same, warped and normalised: temperature, top-k, top-p, min-p.

    Temperature 0 puts all mass on the likeliest token, the lowest id among equals.
    """
    if how.greedy:
        best = log_p.argmax(dim=-1, keepdim=True)  # (..., 1)
        return torch.full_like(log_p, -torch.inf).scatter_(-1, best, 0.0)
    if how.temperature != 1:
        log_p = (log_p - log_p.amax(dim=-1, keepdim=True)) / max(how.temperature, COLDEST)
        log_p = torch.log_softmax(log_p, dim=-1)
    if not how.truncates:
        return log_p
    if how.top_k and how.top_k < log_p.shape[-1]:
        least = log_p.topk(how.top_k, dim=-1).values[..., -1:]  # (..., 1)
        log_p = torch.log_softmax(log_p.masked_fill(log_p < least, -torch.inf), dim=-1)
    if how.top_p < 1:
        log_p = _nucleus(log_p, how.top_p)
    if how.min_p > 0:
        least = log_p.amax(dim=-1, keepdim=True) + math.log(how.min_p)
        log_p = torch.log_softmax(log_p.masked_fill(log_p < least, -torch.inf), dim=-1)
    return log_p


def _nucleus(log_p: Tensor, top_p: float) -> Tensor:
    """The fewest likeliest tokens that hold `top_p` of the mass, the lowest ids among equals; normalised."""
    ordered, ids = _likeliest(log_p, top_p)  # (..., n)
    mass = ordered.exp()
    inside = mass.cumsum(dim=-1) - mass < top_p  # too little came before
    inside[..., 0] = True
    kept = torch.zeros_like(log_p, dtype=torch.bool).scatter_(-1, ids, inside)
    return torch.log_softmax(log_p.masked_fill(~kept, -torch.inf), dim=-1)


def _likeliest(log_p: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities and ids in falling order: of the head where that suffices, else of all tokens."""
    if log_p.shape[-1] > 2 * HEAD and log_p.device.type == "cpu":  # a GPU sorts faster than it is asked
        ordered, ids = log_p.topk(HEAD, dim=-1)
        # Of equal values at the head's edge topk takes any: the nucleus must lie above them.
        above = ordered > ordered[..., -1:]
        if bool(((ordered.exp() * above).sum(dim=-1) >= top_p).all()):
            by_id = ids.sort(dim=-1).indices
            ordered, ids = ordered.gather(-1, by_id), ids.gather(-1, by_id)
            ordered, place = ordered.sort(dim=-1, descending=True, stable=True)
            return ordered, ids.gather(-1, place)
    ordered, ids = log_p.sort(dim=-1, descending=True, stable=True)
    return ordered, ids
