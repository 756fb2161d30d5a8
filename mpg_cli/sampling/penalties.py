"""Penalties and logit bias: what is done to a distribution before temperature and truncation (algorithm page,
section 2).

Repetition acts on logits, as in transformers (Keskar et al., CTRL, arXiv 1909.05858): z / rho where z > 0,
else z * rho, for tokens of the reply and of the reference row's prompt. The target has no logits of its own;
z = log p + logsumexp of the reference's has the scale that the number rho is made for, and where all weights
are 0 it is the reference's logit. Presence and frequency are subtracted for tokens of the reply alone, as in
OpenAI's interface; the bias is added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mpg_cli.sampling.tensors import to_device


@dataclass(frozen=True)
class Penalties:
    """The defaults change nothing. `bias` are token ids, each once, and what is added to their logits."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()

    @property
    def active(self) -> bool:
        return self.look_back or bool(self.bias)

    @property
    def look_back(self) -> bool:
        """Whether it matters which tokens were there."""
        return self.repetition != 1 or self.presence != 0 or self.frequency != 0


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


def penalise(log_p: Tensor, normaliser: Tensor, how: Penalties, seen: Seen | None, drafted: Tensor) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised and normalised; P positions along a draft.

    normaliser (B, N, P) is the logsumexp of the logits whose scale counts: log_p + normaliser are logits.
    `seen` (needed where `how` looks back) and drafted (B, N, T) are on the device of log_p. P = T + 1 for all
    positions of a draft, 1 for the position behind it.
    """
    if not how.active:
        return log_p
    log_p = log_p.clone()
    if how.look_back:
        assert seen is not None
        ids, counts, known = _along(seen, drafted, log_p.shape[2])  # (B, N, S+T), twice (B, N, P, S+T)
        at = ids[:, :, None].expand_as(counts)  # (B, N, P, S+T)
        z = log_p.gather(-1, at) + normaliser[..., None]
        if how.repetition != 1:
            z = torch.where(known, torch.where(z > 0, z / how.repetition, z * how.repetition), z)
        z = z - how.presence * (counts > 0) - how.frequency * counts
        log_p.scatter_(-1, at, z - normaliser[..., None])  # an id that is there twice gets the same twice
    if how.bias:
        tokens, added = _bias(how.bias, log_p.device)
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
