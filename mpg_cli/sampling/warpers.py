"""What reshapes a penalised distribution before sampling (algorithm page, section 2), in this order:
temperature, top-k, top-p, min-p, renormalise. Pure functions of log-probabilities (..., V).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

COLDEST = 1e-30  # float32 would round less to 0; far above it all mass is on the best already
HEAD = 1024  # likeliest tokens that nearly always hold a nucleus; sorting a whole vocabulary is slow


@dataclass(frozen=True)
class Warp:
    """Sampling parameters; the defaults change nothing."""

    temperature: float = 1.0
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def untruncated(self) -> Warp:
        """Temperature alone: the drafter's under the threshold rule."""
        return replace(self, top_k=0, top_p=1.0, min_p=0.0)


def warp(log_p: Tensor, how: Warp) -> Tensor:
    """log_p (..., V) normalised -> the same, reshaped and normalised.

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
