"""Fluency: the mean log-probability of the tokens of a reply under the base alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.models.text.vocabulary import logits_width
from mpg_cli.sampling.params import Scheme
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
    while order:
        longest = len(replies[order[-1]])
        size = max(1, min(BATCH, len(order), BYTES // ((longest + 1) * logits_width(loaded.model) * 4)))
        part, order = order[-size:], order[:-size]
        means = _means(loaded, [prompts[at] for at in part], [replies[at] for at in part])
        for at, value in zip(part, means, strict=True):
            found[at] = value
        report(1 - len(order) / len(replies))
    return found


def _means(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]
) -> list[float]:
    """`fluencies` of replies that share a pass; none is empty."""
    blend_rows = BlendRows(loaded, LoraBank.of(loaded.model), (), Scheme(drafter="none"), batch=len(replies))
    drafts = padded(replies)[:, None]  # (B, 1, T)
    blend_rows.rows.prefill([[list(ids)] for ids in prompts])
    rows = blend_rows.rows.score(drafts).log_probs[0, :, 0, :-1]  # (1, B, 1, T+1, V) -> (B, T, V)
    blend_rows.rows.check()
    chosen = rows.gather(-1, drafts[:, 0, :, None].to(rows.device))[..., 0]  # (B, T)
    lengths = torch.tensor([len(ids) for ids in replies], device=rows.device)  # (B,)
    padding = torch.arange(drafts.shape[2], device=rows.device) >= lengths[:, None]  # (B, T)
    means: list[float] = (chosen.masked_fill(padding, 0.0).sum(-1) / lengths).tolist()
    blend_rows.release()
    return means
