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

import torch
from torch import Tensor

from mpg_cli.transfer import sent


@dataclass(frozen=True)
class Penalties:
    """The defaults change nothing. `bias` are token ids, each once, and what is added to their logits."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()

    @property
    def count(self) -> bool:
        """Whether it matters which tokens were there."""
        return self.repetition != 1 or self.presence != 0 or self.frequency != 0

    def __bool__(self) -> bool:
        return self.count or bool(self.bias)


@dataclass(frozen=True)
class Said:
    """Distinct tokens of B prompts and replies, padded with repetitions: ids (B, S), how often each is in the
    reply (B, S), and whether it was seen at all (B, S), which it is not where there is no token yet.
    """

    ids: Tensor
    counts: Tensor
    seen: Tensor

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]) -> Said:
        """Of the reference's prompts and the replies so far."""
        counted = []
        for prompt, reply in zip(prompts, replies, strict=True):
            counts = Counter(dict.fromkeys(prompt, 0))
            counts.update(reply)
            counted.append(counts)
        size = max(1, *map(len, counted)) if counted else 1
        ids, numbers = [], []
        for counts in counted:
            own, times = list(counts) or [0], list(counts.values()) or [0]
            missing = size - len(own)
            ids.append(own + own[:1] * missing)
            numbers.append(times + times[:1] * missing)
        seen = torch.tensor([bool(counts) for counts in counted])[:, None].expand(-1, size)
        return cls(torch.tensor(ids), torch.tensor(numbers), seen)


def penalise(log_p: Tensor, normaliser: Tensor, how: Penalties, said: Said | None, drafted: Tensor) -> Tensor:
    """log_p (B, N, P, V), normalised -> the same, penalised and normalised; P positions along a draft.

    normaliser (B, N, P) is the logsumexp of the logits whose scale counts: log_p + normaliser are logits.
    Before position i the draft has its first T - P + 1 + i tokens: drafted (B, N, T), P = T + 1 for a whole
    draft, P = 1 for the position behind it.
    """
    if not how:
        return log_p
    log_p = log_p.clone()
    if how.count:
        assert said is not None
        ids, counts, seen = _along(said, drafted, log_p)  # (B, N, S+T), (B, N, P, S+T), (B, N, P, S+T)
        at = ids[:, :, None].expand_as(counts)  # (B, N, P, S+T)
        z = log_p.gather(-1, at) + normaliser[..., None]
        if how.repetition != 1:
            z = torch.where(seen, torch.where(z > 0, z / how.repetition, z * how.repetition), z)
        z = z - how.presence * (counts > 0) - how.frequency * counts
        log_p.scatter_(-1, at, z - normaliser[..., None])  # an id that is there twice gets the same twice
    if how.bias:
        tokens = sent(torch.tensor([token for token, _ in how.bias]), log_p.device)
        added = torch.tensor([bias for _, bias in how.bias], dtype=log_p.dtype)
        log_p[..., tokens] += sent(added, log_p.device)
    return torch.log_softmax(log_p, dim=-1)


def _along(said: Said, drafted: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids that may have been seen (B, N, S+T), and for P positions along the draft how often each is in the
    reply (B, N, P, S+T) and whether it was seen (B, N, P, S+T).
    """
    B, N, P, _ = like.shape
    drafted = sent(drafted, like.device)  # (B, N, T)
    T = drafted.shape[2]
    base, times, known = (
        sent(x, like.device)[:, None].expand(B, N, -1) for x in (said.ids, said.counts, said.seen)
    )
    ids = torch.cat([base, drafted], dim=2)  # (B, N, S+T)
    same = (drafted[..., None] == base[:, :, None]) & known[:, :, None]  # (B, N, T, S)
    committed = torch.cat([times, (same * times[:, :, None]).amax(dim=-1)], dim=2)  # (B, N, S+T)
    before = torch.cat([known, same.any(dim=-1)], dim=2)  # (B, N, S+T)
    hits = ids[..., None] == drafted[:, :, None]  # (B, N, S+T, T)
    running = torch.nn.functional.pad(hits.cumsum(dim=-1), (1, 0))[..., T + 1 - P :]  # (B, N, S+T, P)
    counts = committed[:, :, None] + running.transpose(2, 3)  # (B, N, P, S+T)
    return ids, counts, before[:, :, None] | (counts > 0)
