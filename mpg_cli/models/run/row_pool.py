"""The rows of all slots on one model, scored in shared passes.

A physical row has adapters and a cache of its own, and belongs to a candidate of a slot. Slots of different
blends share passes: a pass goes over all physical rows, also those without a slot, whose results are unused.
Those keep their cache until another sequence takes them, see `Prefill`.

Independent of sampling and of text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpg_cli.models.load.adapter import Row, RowKey, row_key
from mpg_cli.models.run.assignment import Assignment
from mpg_cli.models.run.forward import Forward, position_bytes
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.plan import PassPlan, plan_of
from mpg_cli.models.run.pool_scores import PoolScores, SlotView
from mpg_cli.models.run.prefill import Prefill
from mpg_cli.models.run.row_table import FREE, RowTable
from mpg_cli.models.text.vocabulary import Vocabulary, embedded
from mpg_cli.sampling.scorer import Kept, padded, to_device

IDLE, SHARE_IDLE = 8, 0.25  # rows without a slot that are kept: so many, or this share of those with one


@dataclass(frozen=True)
class NewRow:
    """A row of a new sequence: its name in messages, its adapters and its prompt."""

    name: str
    adapters: Row
    prompt: Sequence[int]

    @property
    def key(self) -> RowKey:
        """See `row_key`."""
        return row_key(self.adapters)


@dataclass(frozen=True)
class NewRows:
    """The R rows of a new sequence on one model, each for N candidates.

    `vocabulary` are the tokens that are scored (None: all logits of the model).
    """

    rows: Sequence[NewRow]
    candidates: int = 1
    vocabulary: Vocabulary | None = None

    @property
    def count(self) -> int:
        """R * N, the number of physical rows."""
        return len(self.rows) * self.candidates


@dataclass
class _Slot:
    """The rows of the sequence in a slot."""

    new: NewRows
    index: Tensor  # physical rows (R, N)


class RowPool:
    """The rows of one model. Implements `StepScorer` for the slots that have rows here."""

    def __init__(
        self,
        model: Any,
        bank: LoraBank | None = None,
        plan: PassPlan | None = None,
        sibling: RowPool | None = None,
    ) -> None:
        """`bank` holds the adapters of the rows; without one no row may have any. `sibling` is another pool
        of the model, whose prompts are read first.
        """
        self.model, self.bank, self._sibling = model, bank, sibling
        self.device: torch.device = model.device
        self.plan = plan_of(model) if plan is None else plan
        self.position_bytes = position_bytes(model)  # of one row
        self.read_tokens = 0  # prompt tokens read so far; those copied are not counted
        self._forward = Forward(model, embedded(model), self.plan)
        self._weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._table = RowTable()
        self._assignment: Assignment | None = None  # of passes over all rows
        self.reset()

    def reset(self) -> None:
        """Remove all slots and rows, for instance after an exception in the middle of a pass."""
        before = self._table.adapters
        self._slots: dict[int, _Slot] = {}
        self._table, self._cache = RowTable(), self._forward.new_cache(0)
        self._prefill = Prefill(self._table, self._cache)
        # A drafted token (B, N) on its device, to be fed, and the rows (n,) that get it.
        self._pushed: tuple[Tensor, Tensor] | None = None
        self._changed()
        self._release(before)

    # -- slots -----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P, the number of physical rows."""
        return len(self._table)

    @property
    def used(self) -> bool:
        """Whether a slot has rows here."""
        return bool(self._slots)

    def __contains__(self, slot: int) -> bool:
        return slot in self._slots

    def insert(self, new: Mapping[int, NewRows]) -> None:
        """Start new sequences in slots without one; `read` reads their prompts, but for the last tokens.

        Those are pending, so that the first `score` starts from them as later ones do from the last committed
        token. A failure, such as running out of memory, leaves the pool to be `reset`.
        """
        new_rows = [row for rows in new.values() for row in rows.rows for _ in range(rows.candidates)]
        known = self._prefill.common([(row.key, tuple(row.prompt[:-1])) for row in new_rows])
        places, table = self._prefill.choose(known), self._table
        self._give(dict(zip(places, new_rows, strict=True)))
        rest = iter(places)
        for slot, rows in new.items():
            R, N = len(rows.rows), rows.candidates
            index = torch.tensor([next(rest) for _ in range(rows.count)]).view(R, N)
            table.owner[index], table.row[index] = slot, torch.arange(R)[:, None]
            table.candidate[index] = torch.arange(N)
            self._slots[slot] = _Slot(rows, index)
        if self._cache.span.total < self.size:
            moved = self._arrange(range(self.size))
            places = [moved[place] for place in places]
            known = [{moved[row]: length for row, length in own.items()} for own in known]
        self._prefill.begin(places, [row.prompt for row in new_rows], known)
        self._changed()

    def free(self, slot: int, *, damaged: bool = False) -> None:
        """Remove the sequence in a slot; its rows keep their cache, unless that is `damaged` by NaN."""
        own = self._slots.pop(slot, None)
        if own is None:
            return
        rows = own.index.flatten()
        self._table.owner[rows], self._table.counts[rows] = FREE, 0
        if damaged:
            self._cache.clear_rows(rows)
            self._table.cached[rows] = 0
        self._prefill.drop(rows.tolist())
        self._changed()

    def compact(self) -> None:
        """Drop the rows without a slot if there are many: every pass goes over them."""
        used = (self._table.owner != FREE).nonzero().flatten().tolist()
        if used and self.size - len(used) > min(len(used), max(IDLE, SHARE_IDLE * len(used))):
            self._arrange(used)

    def nbytes(self) -> int:
        """Bytes of the cache."""
        return self._cache.nbytes()

    # -- prompts ---------------------------------------------------------------------------------

    def is_read(self, slot: int) -> bool:
        """Whether the prompts of a slot are in the cache, so that it can be scored."""
        return self._prefill.is_read(self._slots[slot].index.flatten().tolist())

    @property
    def unread(self) -> int:
        """Prompt tokens that are still to be read."""
        return self._prefill.unread

    def copy_from(self, pool: RowPool) -> None:
        """See `Prefill.copy_from`."""
        self._prefill.copy_from(pool._prefill)

    def read(self, budget: int) -> None:
        """Read the next block of the oldest unread prompts in one pass: about `budget` tokens of all rows."""
        if self._sibling is not None:
            self.copy_from(self._sibling)
        self.read_tokens += self._prefill.read(self.plan, budget, self._read)

    # -- the protocol of the sampler -------------------------------------------------------------

    def alike(self, slot: int) -> Hashable:
        """See `Scorer.alike`."""
        new = self._slots[slot].new
        return len(new.rows), new.candidates, new.vocabulary

    def rows(self, slot: int) -> int:
        """R, the number of rows of a slot, candidates apart."""
        return len(self._slots[slot].new.rows)

    def name(self, slot: int, row: int) -> str:
        """See `Scorer.name`."""
        return self._slots[slot].new.rows[row].name

    def score(self, drafts: Tensor, slots: Sequence[int]) -> PoolScores:
        """See `Scorer.score`. The drafts belong to the sequences until `commit` drops them."""
        own, table = self._view(tuple(slots)).rows, self._table
        N, T = drafts.shape[1:]
        self._truncate_idle(own)
        # The place of each row in (B * N); rows of no slot, or of more candidates, feed any tokens.
        lane = table.owner.clamp(min=0) * N + table.candidate.clamp(max=N - 1)  # (P,)
        pushed = self._take_pushed(own, T)
        if pushed is not None:
            tokens = pushed.flatten()[to_device(lane, pushed.device)][:, None]  # (P, 1)
            fed = torch.ones_like(table.counts)
        else:
            fed, tokens = table.counts, table.with_drafts(own, drafts.cpu().flatten(0, 1)[lane])
        logits = self._logits(tokens)  # (P, W, V)
        if pushed is None:
            table.fed(own)
            table.drafted[own] += T
        table.cached[own] += T if pushed is None else 1
        return PoolScores(logits, fed, T, self._view)

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        """See `StepScorer.push`. The token stays on its device: on a GPU every read would synchronise."""
        self._flush()
        own = self._view(tuple(slots)).rows
        self._table.drafted[own] += 1
        if bool(self._table.counts[own].any()):
            self._table.append(own, tokens.cpu())
        else:
            self._pushed = tokens, own

    def commit(self, kept: Mapping[int, Kept]) -> None:
        """See `Scorer.commit`; slots without rows here are left out."""
        slots = tuple(slot for slot in kept if slot in self._slots)
        if not slots:
            return
        view = self._view(slots)
        own, of = view.rows, view.places  # (n,), (n,) places in `slots`
        self._flush()
        accepted = torch.tensor([kept[slot].accepted for slot in slots])[of]  # (n,)
        tokens = padded([kept[slot].tokens for slot in slots])[of]  # (n, W)
        lengths = torch.tensor([len(kept[slot].tokens) for slot in slots])[of]
        for slot in slots:
            if self._slots[slot].new.candidates > 1:
                index = self._slots[slot].index
                self._table.pending[index] = self._table.pending[index[:, kept[slot].winner]][:, None]
        self._table.commit(own, accepted, tokens, lengths)
        for slot in slots:
            if self._slots[slot].new.candidates > 1:
                self._share(slot, kept[slot].winner)

    def _share(self, slot: int, winner: int) -> None:
        """Copy the cache of the winner to the other candidates, from where they differ."""
        index, table = self._slots[slot].index, self._table  # (R, N)
        begin, end = int(table.shared[index].min()), int(table.cached[index].max())
        if begin < end:
            others = torch.tensor([n for n in range(index.shape[1]) if n != winner])
            source = index[:, winner].repeat_interleave(len(others))
            self._cache.copy_rows(source, index[:, others].flatten(), begin, end)
        table.shared[index] = table.cached[index]

    def _take_pushed(self, rows: Tensor, drafted: int) -> Tensor | None:
        """The pushed tokens (B, N), if they are all that the next pass feeds to these rows."""
        if self._pushed is not None and not drafted and torch.equal(self._pushed[1], rows):
            tokens, self._pushed = self._pushed[0], None
            return tokens
        self._flush()
        return None

    def _flush(self) -> None:
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            self._table.append(pushed[1], pushed[0].cpu())

    # -- passes ----------------------------------------------------------------------------------

    def _truncate_idle(self, own: Tensor) -> None:
        """Shorten rows without a slot to the longest of the pass, which would else read more positions."""
        if len(own) < self.size:
            cached, idle = self._table.cached, self._table.owner == FREE
            cached[idle] = cached[idle].clamp(max=int(cached[own].max()))

    def _read(self, tokens: Tensor, rows: Tensor) -> None:
        """Fill the cache in one pass over prompt tokens (n, T) of these physical rows (n,)."""
        part = None if len(rows) == self.size else rows
        with self._active(self._assigned(part)):
            self._forward.read(self._cache, tokens, self._table.starts(rows), part)

    def _logits(self, tokens: Tensor) -> Tensor:
        """Logits (P, T, V) after each of the tokens (P, T)."""
        lengths: list[int] = self._table.cached.tolist()
        together = self.plan.sequences_together(lengths, self.position_bytes, self._weight_bytes)
        if len(together) == 1:
            return self._pass(tokens, None)
        parts = [torch.tensor(part) for part in together]
        logits = torch.cat([self._pass(tokens[part], part) for part in parts])
        return logits[torch.cat(parts).argsort()]

    def _pass(self, tokens: Tensor, rows: Tensor | None) -> Tensor:
        """Logits (n, T, V) of one pass over tokens (n, T) of these physical rows (n,) (None: all)."""
        start, assignment = self._table.starts(rows), self._assigned(rows)
        alone, version = len(self._slots) == 1, 0 if assignment is None else assignment.version
        with self._active(assignment):
            return self._forward.score(self._cache, tokens, start, rows, alone=alone, version=version)

    def _active(self, assignment: Assignment | None) -> AbstractContextManager[None]:
        """The context of passes with these adapters."""
        return nullcontext() if self.bank is None else self.bank.active(assignment)

    def _assigned(self, rows: Tensor | None) -> Assignment | None:
        """The adapters of these physical rows (n,) (None: all)."""
        if self.bank is None:
            return None
        if rows is not None:
            return self.bank.assign([self._table.adapters[row] for row in rows.tolist()])
        if self._assignment is None or not self._assignment.valid:  # other pools may move the adapters
            self._assignment = self.bank.assign(self._table.adapters)
        return self._assignment

    # -- physical rows ---------------------------------------------------------------------------

    def _give(self, rows: Mapping[int, NewRow]) -> None:
        """Give free physical rows these weights; their cache is only valid for the same ones."""
        table = self._table
        changed = {place: row for place, row in rows.items() if table.keys[place] != row.key}
        if self.bank is not None:
            self.bank.retain([row.adapters for row in changed.values()])
        before = [table.adapters[place] for place in changed]
        for place, row in changed.items():
            table.keys[place], table.adapters[place] = row.key, row.adapters
            table.cached[place] = 0
        self._release(before)

    def _release(self, rows: Sequence[Row]) -> None:
        if self.bank is not None:
            self.bank.release(rows)

    def _arrange(self, rows: Sequence[int]) -> dict[int, int]:
        """Keep these physical rows, in the order of `RowTable.arranged`; returns their new numbers."""
        self._flush()
        table, total = self._table, self._cache.span.total
        dropped = [table.adapters[row] for row in set(range(self.size)).difference(rows)]
        order = table.arranged(rows)
        index = torch.tensor(order, dtype=torch.long)
        self._cache.select_rows(torch.where(index < total, index, -1))  # -1: an empty one
        table.keep(order)
        self._release(dropped)  # now: what fails before leaves them in the table
        moved = {old: new for new, old in enumerate(order)}
        for slot in self._slots.values():
            slot.index = slot.index.clone().apply_(moved.__getitem__)
        self._prefill.move(moved)
        self._changed()
        return moved

    def _changed(self) -> None:
        """Forget what depends on the arrangement of the rows."""
        self._views: dict[tuple[int, ...], SlotView] = {}
        self._assignment = None

    def _view(self, slots: tuple[int, ...]) -> SlotView:
        if slots not in self._views:
            own = [self._slots[slot] for slot in slots]
            found = SlotView.of([one.index for one in own], self._table, own[0].new.vocabulary)
            self._views[slots] = found
        return self._views[slots]
