"""The rows of a blend, on one model or several: the scorer of the sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpg_cli.models.run.row_group import Prompt, RowGroup
from mpg_cli.sampling.scorer import Scores


class Rows:
    """Several groups (a base with its adapters, full checkpoints) as one set of R rows, in their order."""

    def __init__(self, groups: Sequence[RowGroup]) -> None:
        self.groups = tuple(groups)
        self.names = tuple(name for g in self.groups for name in g.names)
        self.rows = len(self.names)
        self.batch, self.candidates = self.groups[0].batch, self.groups[0].candidates

    def prefill(self, prompts: Sequence[Prompt]) -> None:
        for group, part in self._split(prompts):
            group.prefill(part)

    def insert(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> None:
        """See `RowGroup.insert`."""
        for group, part in self._split(prompts):
            group.insert(slots, part)

    def select(self, slots: Sequence[int]) -> None:
        """See `RowGroup.select`."""
        for group in self.groups:
            group.select(slots)
        self.batch = self.groups[0].batch

    def _split(self, prompts: Sequence[Prompt]) -> list[tuple[RowGroup, list[Prompt]]]:
        parts, at = [], 0
        for group in self.groups:
            parts.append((group, [prompt[at : at + group.rows] for prompt in prompts]))
            at += group.rows
        return parts

    def score(self, drafts: Tensor) -> Scores:
        """See `RowGroup.score`; over the rows of all groups."""
        parts = [group.score(drafts) for group in self.groups]
        if len(parts) == 1:
            return parts[0]
        device = parts[0].log_probs.device
        return Scores(
            torch.cat([part.log_probs.to(device) for part in parts]),  # (R, B, N, T+1, V)
            torch.cat([part.normaliser.to(device) for part in parts]),  # (R, B, N, T+1)
        )

    def check(self) -> None:
        """See `RowGroup.check`."""
        for group in self.groups:
            group.check()

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        for group in self.groups:
            group.commit(drop, tokens, winner)
