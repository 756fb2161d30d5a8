"""The target p: what is sampled, from the reference and the experts (algorithm page, section 2).

Notation: log_probs (R, ..., V) are log-softmaxed rows, row 0 the reference pi_0, row i expert pi_i;
weights w (K,), K = R - 1; delta_i = log pi_i - log pi_0. Pure functions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Target = Literal["product", "mixture"]

FLOOR = -1e4  # stands for log 0 in a ratio: finite, so that no weight turns it into NaN


def combine(target: Target, log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p (..., V), normalised, from log_probs (R, ..., V) and weights (K,)."""
    return product(log_probs, weights) if target == "product" else mixture(log_probs, weights)


def product(log_probs: Tensor, weights: Tensor) -> Tensor:
    """log p = log pi_0 + sum_i w_i delta_i, normalised: the log-linear pool.

    Where pi_0 or an expert of positive weight gives 0, so does p; an expert of negative weight that
    gives 0 pulls with the finite ratio -FLOOR.
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


def pull(target: Target, log_probs: Tensor, weights: Tensor) -> Tensor:
    """Which persona pulled: log_probs (R, ...) of chosen tokens -> (..., K).

    Product: w_i delta_i. Mixture: the responsibility w_i pi_i / sum_j w_j pi_j.
    """
    w = weights.view(-1, *[1] * (log_probs.dim() - 1))  # (K, 1, ...)
    if target == "product":
        return (w * _delta(log_probs[0], log_probs[1:])).movedim(0, -1)
    return torch.softmax(w.log() + log_probs[1:], dim=0).movedim(0, -1)
