"""Which token ids may be sampled: those that the tokenizer knows. Embeddings are padded beyond them, and a
padded id has a probability like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

IMPOSSIBLE = -1e30  # a logit; finite, so that sums over experts stay finite


@dataclass(frozen=True)
class Vocabulary:
    """Ids from 0 to below `size`, but for the `holes` between them."""

    size: int
    holes: tuple[int, ...] = ()

    @classmethod
    def of(cls, ids: Iterable[int]) -> Vocabulary:
        """Exactly these ids, at least one."""
        known = set(ids)
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
        """Logits (..., V) over these ids, (..., size): what is beyond them is cut off, what a model does not
        have is impossible, and so are the holes (in place).
        """
        missing = self.size - logits.shape[-1]
        if missing:  # a negative number cuts
            logits = torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        if self.holes:
            with torch.inference_mode():
                logits.index_fill_(-1, torch.tensor(self.holes, device=logits.device), IMPOSSIBLE)
        return logits
