"""The scores of slots, from the logits of a pass over all physical rows of a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpg_cli.models.run.row_table import RowTable
from mpg_cli.models.text.vocabulary import Vocabulary
from mpg_cli.sampling.scorer import Scores, to_device


@dataclass(frozen=True)
class SlotView:
    """The physical rows of some slots."""

    rows: Tensor  # (n,)
    places: Tensor  # (n,), the place of each row's slot among the slots
    index: Tensor | None  # (R, b, N) if the slots are alike
    whole: bool  # `index` is all physical rows in their order
    vocabulary: Vocabulary | None  # of the first slot

    @classmethod
    def of(cls, index: Sequence[Tensor], table: RowTable, vocabulary: Vocabulary | None) -> SlotView:
        """`index` are the rows (R, N) of each slot."""
        alike = len({own.shape for own in index}) == 1
        stacked = torch.stack(list(index), dim=1) if alike else None  # (R, b, N)
        return cls(
            rows=torch.cat([own.flatten() for own in index]),
            places=torch.cat([torch.full((own.numel(),), place) for place, own in enumerate(index)]),
            index=stacked,
            whole=stacked is not None and torch.equal(stacked.flatten(), torch.arange(len(table))),
            vocabulary=vocabulary,
        )


class PoolScores:
    """The result of a pass. Implements `Scored`; valid until the next pass, once for every slot."""

    def __init__(
        self, logits: Tensor, fed: Tensor, drafted: int, view: Callable[[tuple[int, ...]], SlotView]
    ) -> None:
        """logits (P, W, V) after `fed` (P,) pending tokens and `drafted` ones of each row, then padding."""
        self._logits, self._fed, self._drafted, self._view = logits, fed, drafted, view

    def of(self, slots: Sequence[int]) -> Scores:
        """See `Scored.of`."""
        logits, T, view = self._logits, self._drafted, self._view(tuple(slots))
        if view.index is None:
            raise RuntimeError(f"internal error: the slots {list(slots)} are not alike")
        fed = self._fed[view.index]  # (R, b, N)
        first = int(fed[0, 0, 0])
        if view.whole and bool((fed == first).all()):
            found = logits.view(*view.index.shape, *logits.shape[1:])[..., first - 1 : first + T, :]
        else:
            at = to_device(fed[..., None] - 1 + torch.arange(T + 1), logits.device)  # (R, b, N, T+1)
            found = logits[to_device(view.index, logits.device)[..., None], at]  # (R, b, N, T+1, V)
        found = view.vocabulary.fit(found) if view.vocabulary else found.float()
        token = view.vocabulary.first if view.vocabulary else 0
        logit = found[..., token].clone()  # (R, b, N, T+1)
        log_probs = log_softmax_(found)
        return Scores(log_probs, logit - log_probs[..., token])


def log_softmax_(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis of float32 logits, in place on a CPU.

    A batch has megabytes of logits, and allocating memory would take longer than the sums.
    """
    if logits.device.type != "cpu" or not logits.is_contiguous():
        return torch.log_softmax(logits, dim=-1)
    with torch.inference_mode():
        return torch.log_softmax(logits, dim=-1, out=logits)
