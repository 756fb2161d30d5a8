"""Fluency: the mean log-probability of the tokens of a reply under the base alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import torch

from mpg_cli.engine.teacher_forcing import TeacherForcing
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.vocabulary import logits_width
from mpg_cli.sampling.scorer import padded

BATCH = 32
BYTES = 1 << 28  # of log-probabilities a pass may return


def fluencies(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    report: Callable[[float], None] = lambda share: None,
) -> list[float | None]:
    """The mean log-probability of each reply's tokens (nats a token) under the base after its prompt.

    Both are token ids; the end token is not among them. None for an empty reply.
    """
    found: list[float | None] = [None] * len(replies)
    order = sorted((at for at, ids in enumerate(replies) if ids), key=lambda at: len(replies[at]))
    with closing(TeacherForcing.of(loaded, ())) as scorer:
        while order:
            longest = len(replies[order[-1]])
            size = max(1, min(BATCH, len(order), BYTES // ((longest + 1) * logits_width(loaded.model) * 4)))
            part, order = order[-size:], order[:-size]
            means = _means(scorer, [prompts[at] for at in part], [replies[at] for at in part])
            for at, value in zip(part, means, strict=True):
                found[at] = value
            report(1 - len(order) / len(replies))
    return found


def _means(
    scorer: TeacherForcing, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]
) -> list[float]:
    """`fluencies` of replies that share a pass; none is empty."""
    texts = padded(replies)[:, None]  # (B, 1, T)
    log_probs = scorer.log_probs([[ids] for ids in prompts], texts)[0, :, 0]  # (B, T, V)
    chosen = log_probs.gather(-1, texts[:, 0, :, None].to(log_probs.device))[..., 0]  # (B, T)
    lengths = torch.tensor([len(ids) for ids in replies], device=chosen.device)  # (B,)
    padding = torch.arange(texts.shape[2], device=chosen.device) >= lengths[:, None]  # (B, T)
    means: list[float] = (chosen.masked_fill(padding, 0.0).sum(-1) / lengths).tolist()
    return means
