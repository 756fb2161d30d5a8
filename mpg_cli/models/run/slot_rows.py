"""The rows of all slots, on one model or several: the scorer of the sampler.

Slots with rows on the same models share their passes; every model has passes of its own.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.pool_scores import PoolScores
from mpg_cli.models.run.row_pool import NewRows, RowPool
from mpg_cli.sampling.scorer import Kept, Scores


class SlotRows:
    """Rows on a base with its adapters and on full checkpoints. Implements `Scorer`."""

    def __init__(self, base: Any) -> None:
        self._bank = LoraBank.of(base)
        # By model and number within a slot: a slot may have a model twice, with other prompts.
        self._base = id(base), 0
        self._pools: dict[tuple[int, int], RowPool] = {self._base: RowPool(base, self._bank)}
        self.read_before = 0  # prompt tokens read in pools that are gone
        self._of: dict[int, tuple[RowPool, ...]] = {}  # the pools of each slot, in the order of its rows

    @property
    def pools(self) -> tuple[RowPool, ...]:
        """A pool for every model, or more where slots have it more than once."""
        return tuple(self._pools.values())

    def __contains__(self, slot: int) -> bool:
        return slot in self._of

    def insert(self, new: Mapping[int, Sequence[tuple[Any, NewRows]]]) -> None:
        """Start new sequences in free slots: pairs of a model and its rows, in the order of the rows."""
        of_pool: dict[tuple[int, int], dict[int, NewRows]] = {}
        models: dict[tuple[int, int], Any] = {}
        keys: dict[int, list[tuple[int, int]]] = {}
        for slot, parts in new.items():
            found = keys[slot] = []
            for model, rows in parts:
                key = id(model), sum(own == id(model) for own, _ in found)
                found.append(key)
                models[key] = model
                of_pool.setdefault(key, {})[slot] = rows
        self._drop_unused(models.keys())
        for key, own in of_pool.items():
            if key not in self._pools:
                self._pools[key] = RowPool(models[key])
            self._pools[key].insert(own)
        self._of |= {slot: tuple(self._pools[key] for key in own) for slot, own in keys.items()}

    def _drop_unused(self, wanted: Container[tuple[int, int]]) -> None:
        """Drop the pools of checkpoints that no slot has and no new sequence wants, so that these can go."""
        for key, pool in list(self._pools.items()):
            if key != self._base and key not in wanted and not pool.used:
                self.read_before += pool.read_tokens
                del self._pools[key]

    def free(self, slot: int, *, damaged: bool = False) -> None:
        """See `RowPool.free`."""
        for pool in self._of.pop(slot, ()):
            pool.free(slot, damaged=damaged)

    def reset(self) -> None:
        """See `RowPool.reset`."""
        self._of.clear()
        for pool in self._pools.values():
            pool.reset()

    def read_all(self, block: int) -> None:
        """Read all prompts, about `block` tokens in a pass."""
        for pool in self._pools.values():
            while pool.unread:
                pool.read(block)

    def is_read(self, slot: int) -> bool:
        """See `RowPool.is_read`."""
        return all(pool.is_read(slot) for pool in self._of[slot])

    def score(self, drafts: Tensor, slots: Sequence[int]) -> SlotScores:
        """See `Scorer.score`."""
        scores = {}
        for pool in self._pools.values():
            own = [slot for slot in slots if slot in pool]
            if own:
                scores[id(pool)] = pool.score(drafts, own)
        return SlotScores(scores, self._of)

    def alike(self, slot: int) -> Hashable:
        """See `Scorer.alike`."""
        return tuple((id(pool), pool.alike(slot)) for pool in self._of[slot])

    def name(self, slot: int, row: int) -> str:
        """See `Scorer.name`."""
        names = [pool.name(slot, r) for pool in self._of[slot] for r in range(pool.rows(slot))]
        return names[row]

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """See `Scorer.commit`."""
        for pool in self._pools.values():
            pool.commit(kept)


class SlotScores:
    """The scores of a pass on every model. Implements `Scored`."""

    def __init__(self, scores: Mapping[int, PoolScores], of: Mapping[int, tuple[RowPool, ...]]) -> None:
        """`scores` by pool, `of` the pools of each slot."""
        self._scores, self._of = scores, of

    def of(self, slots: Sequence[int]) -> Scores:
        """See `Scored.of`."""
        parts = [self._scores[id(pool)].of(slots) for pool in self._of[slots[0]]]
        if len(parts) == 1:
            return parts[0]
        device = parts[0].log_probs.device
        return Scores(
            torch.cat([part.log_probs.to(device) for part in parts]),  # (R, b, N, T+1, V)
            torch.cat([part.normaliser.to(device) for part in parts]),  # (R, b, N, T+1)
        )
