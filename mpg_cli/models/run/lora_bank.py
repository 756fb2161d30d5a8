"""The adapters of a model, each stored once, and which of them each row of a pass gets.

Rows of any blends share a pass. The row of an expert has one adapter, that of a merged drafter or target the
weighted sum of several, the reference none. `assign` says which, and the layers (lora_layer.py) carry it out.
A sum is stored like one adapter of the summed rank, and costs a pass no more than an expert.

Independent of transformers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import torch
from torch import nn

from mpg_cli.models.load.adapter import Row, RowKey, row_key
from mpg_cli.models.run.assignment import Assignment, Place
from mpg_cli.models.run.fold import FoldedCopies
from mpg_cli.models.run.lora_layer import Active, AdaptedLinear
from mpg_cli.models.run.lora_stack import LoraStack, padded_ranks, row_bytes

Ranks: TypeAlias = tuple[tuple[str, int], ...]  # padded ranks by layer

ASSIGNMENTS = 32  # kept for passes that come again; each has a few small tensors


@dataclass
class _Stored:
    """A row in a stack."""

    place: Place
    users: int = 0


class LoraBank:
    """The stacked rows of a model. A layer is replaced in place when a row first adapts it.

    Create it once the model is on its device and in its dtype: stacks use those of each layer.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._active = Active()
        self._stacks: dict[Ranks, LoraStack] = {}
        self._stored: dict[RowKey, _Stored] = {}
        self._assignments: OrderedDict[tuple[RowKey, ...], Assignment] = OrderedDict()
        self._versions = count(1)
        self._folded = FoldedCopies(model)

    @classmethod
    def of(cls, model: nn.Module) -> LoraBank:
        """The bank of a model, created at the first call."""
        bank: LoraBank | None = getattr(model, "_mpg_lora_bank", None)
        if bank is None:
            bank = cls(model)
            object.__setattr__(model, "_mpg_lora_bank", bank)
        return bank

    @torch.inference_mode()
    def retain(self, rows: Sequence[Row]) -> None:
        """Store rows for passes, until `release`; rows that are stored already are shared.

        New rows become neighbours in their stack: passes over them in this order need no copies.
        The adapters must have passed `fit_adapter`. Raises AdapterError, and retains nothing, where a factor
        overflows the dtype of its layer.
        """
        keys = [key for key in map(row_key, rows) if key]
        new: dict[LoraStack, dict[RowKey, Row]] = {}
        for row in rows:
            key = row_key(row)
            if key and key not in self._stored:
                new.setdefault(self._stack(row), {})[key] = row
        try:
            for stack, own in new.items():
                for key, index in zip(own, stack.insert(list(own.values())), strict=True):
                    self._stored[key] = _Stored((stack, index))
        except BaseException:
            self._remove([key for key in keys if key in self._stored])
            raise
        for key in keys:
            self._stored[key].users += 1
        self._remove(())

    @torch.inference_mode()
    def release(self, rows: Sequence[Row]) -> None:
        """Undo a `retain` of these rows; without users they are removed."""
        keys = [key for key in map(row_key, rows) if key]
        for key in keys:
            if key not in self._stored:
                raise RuntimeError(f"internal error: row {key} is not retained")
            self._stored[key].users -= 1
        self._remove(keys)

    def assign(self, rows: Sequence[Row]) -> Assignment | None:
        """The adapters of passes over len(rows) physical rows in this order; None where no row has one.

        The rows must be retained. Valid until one of them is released or tensors move; the same object for
        equal rows while it is valid, if not too many others came between.
        """
        keys = tuple(map(row_key, rows))
        found = self._assignments.get(keys)
        if found is None:
            if not any(keys):
                return None
            missing = next((key for key in keys if key and key not in self._stored), None)
            if missing is not None:
                raise RuntimeError(f"internal error: row {missing} is not retained")
            places = [self._stored[key].place if key else None for key in keys]
            device = next(self._model.parameters()).device
            found = self._assignments[keys] = Assignment(places, device, next(self._versions))
            if len(self._assignments) > ASSIGNMENTS:
                self._assignments.popitem(last=False)[1].valid = False
        self._assignments.move_to_end(keys)
        return found

    @contextmanager
    def active(self, assignment: Assignment | None) -> Iterator[None]:
        """Context of passes with these adapters; None: every row is the plain base.

        Nests; the former state is restored on exit.
        """
        if assignment is not None and not assignment.valid:
            raise RuntimeError("internal error: the assignment is outdated")
        before = self._active.assignment
        self._active.assignment = assignment
        try:
            yield
        finally:
            self._active.assignment = before

    def folded(self, row: Row) -> nn.Module:
        """A copy of the model with the weighted adapters added to its weights, see `FoldedCopies`."""
        return self._folded.get(row)

    def memory(self) -> int:
        """Bytes of all stacks."""
        return sum(stack.nbytes() for stack in self._stacks.values())

    def needed(self, rows: Sequence[Row]) -> int:
        """Bytes of those of the rows that are not stored yet."""
        new = {key: row for row in rows if (key := row_key(row)) and key not in self._stored}
        return sum(row_bytes(self._model, padded_ranks(self._model, row)) for row in new.values())

    def _stack(self, row: Row) -> LoraStack:
        """The stack of the row's layers and ranks, created where there is none."""
        ranks = padded_ranks(self._model, row)
        key = tuple(sorted(ranks.items()))
        if key not in self._stacks:
            for module in ranks:
                self._replace(module)
            self._stacks[key] = LoraStack(self._model, ranks)
        return self._stacks[key]

    def _replace(self, module: str) -> None:
        """Replace a layer by an adapted one, unless it is."""
        layer = self._model.get_submodule(module)
        if not isinstance(layer, AdaptedLinear):
            parent, _, child = module.rpartition(".")
            new = AdaptedLinear(layer, module, self._active)
            setattr(self._model.get_submodule(parent), child, new)

    def _remove(self, keys: Iterable[RowKey]) -> None:
        """Remove rows that have no users, and what depended on them: empty stacks, assignments."""
        for key in dict.fromkeys(keys):
            if not self._stored[key].users:
                stack, index = self._stored.pop(key).place
                stack.remove(index)
        self._stacks = {ranks: stack for ranks, stack in self._stacks.items() if stack.rows}
        for rows, assignment in list(self._assignments.items()):
            gone = any(key and key not in self._stored for key in rows)
            if gone or assignment.has_moved:
                self._assignments.pop(rows).valid = False
