"""Which token ids may be sampled: those that the tokenizer knows. Embeddings are padded beyond them, and a
padded id has a probability like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mpg_cli.sampling.scorer import to_device

IMPOSSIBLE = -1e30  # a logit; finite, so that sums over experts stay finite


@dataclass(frozen=True)
class Vocabulary:
    """Ids from 0 to below `size`, but for the `holes` between them."""

    size: int
    holes: tuple[int, ...] = ()

    @classmethod
    def of(cls, ids: Iterable[int]) -> Vocabulary:
        """Exactly these ids, but for negative ones, which stand for none; at least one is there."""
        known = {id_ for id_ in ids if id_ >= 0}
        size = max(known) + 1
        return cls(size, tuple(sorted(set(range(size)) - known)) if len(known) < size else ())

    def below(self, size: int) -> Vocabulary:
        """Those of the ids that are less than `size`."""
        if size >= self.size:
            return self
        return Vocabulary.of(id_ for id_ in range(size) if id_ in self)

    @cached_property
    def first(self) -> int:
        """The lowest id."""
        return next(id_ for id_ in range(self.size) if id_ in self)

    @cached_property
    def _holes(self) -> frozenset[int]:
        return frozenset(self.holes)

    def __contains__(self, id_: int) -> bool:
        return 0 <= id_ < self.size and id_ not in self._holes

    def fit(self, logits: Tensor) -> Tensor:
        """Logits (..., V) over these ids, (..., size), float32: what is beyond them is cut off, what a model
        does not have is impossible, and so are the holes. Of float32 logits the holes are overwritten.
        """
        logits = logits[..., : self.size].float()
        if missing := self.size - logits.shape[-1]:
            logits = torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        if self.holes:
            with torch.inference_mode():
                logits.index_fill_(-1, self._places(logits.device), IMPOSSIBLE)
        return logits

    def _places(self, device: torch.device) -> Tensor:
        """The holes on a device, sent there once."""
        if device not in self._sent:
            self._sent[device] = to_device(torch.tensor(self.holes), device)
        return self._sent[device]

    @cached_property
    def _sent(self) -> dict[torch.device, Tensor]:
        return {}
