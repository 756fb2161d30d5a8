"""The rows of one forward pass: the reference and all experts, for a batch of sequences.

The physical batch is R*B*N: R rows of a blend, B sequences in slots, N candidates of each. The row is the
slowest index, so that the stacked LoRA works on contiguous views. The sampler uses two calls: `score` feeds
the pending tokens and a draft and returns log-probabilities after each token, `commit` drops the rejected
tail and appends the committed tokens. Independent of sampling and of text.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mpg_cli.errors import NumericsError
from mpg_cli.models.run.forward import Forward, position_bytes
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.models.run.pending import PendingTokens
from mpg_cli.models.run.plan import PassPlan, plan_of
from mpg_cli.models.text.vocabulary import Vocabulary, embedded
from mpg_cli.sampling.scorer import Scores, to_device

Prompt = Sequence[Sequence[int]]  # token ids for each row of one sequence


def log_softmax_(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis of float32 logits, in place on a CPU.

    A batch has megabytes of logits, and allocating memory would take longer than the sums.
    """
    if logits.device.type != "cpu" or not logits.is_contiguous():
        return torch.log_softmax(logits, dim=-1)
    with torch.inference_mode():
        return torch.log_softmax(logits, dim=-1, out=logits)


class RowGroup:
    """R rows of one model (with the stacked LoRA `stack` of `bank` on the last of them)."""

    def __init__(
        self,
        model: Any,
        names: Sequence[str],
        *,
        batch: int = 1,
        candidates: int = 1,
        bank: LoraBank | None = None,
        stack: str | None = None,
        vocabulary: Vocabulary | None = None,
        keys: Sequence[Hashable] = (),
        plan: PassPlan | None = None,
    ) -> None:
        """`vocabulary` are the tokens that are scored (None: all logits of the model). `keys` identify the
        adapters of each row: rows of the same model and key are equal, see `reuse_prefix`. `plan` replaces
        the plan of the model.
        """
        self.model, self.vocabulary = model, vocabulary
        self.names = tuple(names)
        self.rows, self.batch, self.candidates = len(self.names), batch, candidates
        self.bank, self.stack, self.keys = bank, stack, tuple(keys)
        self.device: torch.device = model.device
        lacks = vocabulary is not None and (rows := embedded(model)) < vocabulary.size  # only drafters
        self.plan = plan_of(model) if plan is None else plan
        self.forward = Forward(model, rows if lacks else None, self.plan)
        self._position_bytes = self.rows * candidates * position_bytes(model)  # of a sequence
        self.read_tokens = 0  # prompt tokens read so far over all rows, reused ones not counted
        self._weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self.reset()

    def reset(self) -> None:
        """Empty the cache."""
        R, B, N = self.rows, self.batch, self.candidates
        self.cache = self.forward.new_cache(R * B * N)
        self.cached = torch.zeros(R, B, dtype=torch.long)  # tokens in the cache
        self.shared = torch.zeros(R, B, dtype=torch.long)  # of these, equal in all candidates
        self.pending = PendingTokens(R, B, N)  # tokens to be fed
        self._bad: Tensor | None = None  # (R,) rows that returned NaN since the last check

    def reuse_prefix(self, others: Sequence[RowGroup]) -> None:
        """Copy the cache of rows with the same key from another group of the same model.

        Takes the group with the most such rows, and of several such rows one with the same name.
        """
        models = [g for g in others if g.model is self.model and g.candidates == self.candidates]
        sources = [(g, g._rows_for(self)) for g in models if g.batch == self.batch]
        if not sources:
            return
        old, found = max(sources, key=lambda source: len(source[1]))
        own, of_old = torch.tensor(list(found), dtype=torch.long), torch.tensor(list(found.values()))
        if len(own):
            slots = torch.arange(self.batch)
            source, target = (g._physical(slots)[r].flatten() for g, r in ((old, of_old), (self, own)))
            self.cache.take_rows(old.cache, source, target)
            self.cached[own] = self.shared[own] = old.cached[of_old]

    def _rows_for(self, new: RowGroup) -> dict[int, int]:
        """Rows of the new group by number, with the row of this group that has the same key."""
        found: dict[int, int] = {}
        for row, (name, key) in enumerate(zip(new.names, new.keys, strict=True)):
            same = [r for r, own in enumerate(self.keys) if own == key]
            if same:
                found[row] = next((r for r in same if self.names[r] == name), same[0])
        return found

    def clone(self, batch: int) -> RowGroup:
        """The same rows with an empty cache, for `batch` sequences of one candidate each, see `copy`."""
        return RowGroup(
            self.model,
            self.names,
            batch=batch,
            bank=self.bank,
            stack=self.stack,
            vocabulary=self.vocabulary,
            keys=self.keys,
            plan=self.plan,
        )

    def copy(self, other: RowGroup, source_slots: Sequence[int], slots: Sequence[int]) -> None:
        """Copy newly inserted sequences from the slots `source_slots` of a clone into `slots`."""
        old, new = torch.tensor(list(source_slots)), torch.tensor(list(slots))
        source, target = other._physical(old), self._physical(new)  # (R, P, 1), (R, P, N)
        known = other.cached[:, old]  # (R, P)
        end = int(known.max())
        self.cache.copy_rows(source.expand_as(target).flatten(), target.flatten(), 0, end, other.cache)
        self.cached[:, new] = self.shared[:, new] = known
        self.pending.insert(slots, other.pending.tokens[:, old, 0, 0])

    # -- the protocol of the sampler -------------------------------------------------------------

    def prefill(self, prompts: Sequence[Prompt]) -> None:
        """Prefill the prompts of all B sequences."""
        self.insert(range(self.batch), prompts)

    def insert(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> None:
        """Start new sequences with these prompts in these slots; the other slots keep their state.

        All but the last prompt token enter the cache; that one is pending, so that the first `score` starts
        from it, as later ones start from the last committed token. A prefix that a row of the slot has in
        the cache is not read again: the next turn of a conversation costs its new tokens, the next sample
        nothing.
        """
        ids_of = {b: [torch.tensor(list(ids)) for ids in p] for b, p in zip(slots, prompts, strict=True)}
        missing: dict[int, int] = {}  # tokens to read in a slot, the maximum over its rows
        for b, prompt in ids_of.items():
            ends = torch.tensor([len(ids) - 1 for ids in prompt])  # (R,)
            known = self._known(b, prompt, ends)  # (R,)
            self.cached[:, b] = self.shared[:, b] = known
            missing[b] = int((ends - known).max())
        for part in self.plan.prompts_together({b: n for b, n in missing.items() if n}):
            self._read(part, [ids_of[b] for b in part])
        last = torch.tensor([[ids[-1] for ids in prompt] for prompt in prompts]).T  # (R, P)
        self.pending.insert(slots, last)

    def _known(self, b: int, prompt: Sequence[Tensor], ends: Tensor) -> Tensor:
        """Length of the prompt prefix that the rows of slot b have in the cache, at most `ends`: (R,)."""
        rows = self._physical(torch.tensor([b]))[:, 0]  # (R, N)
        tokens = torch.nn.utils.rnn.pad_sequence(list(prompt), batch_first=True)  # (R, n)
        return self.cache.common(rows, tokens, torch.minimum(self.cached[:, b], ends))

    def _read(self, slots: Sequence[int], prompts: Sequence[Sequence[Tensor]]) -> None:
        """Read the uncached tokens of P prompts, without their last ones."""
        ends = torch.tensor([[len(ids) - 1 for ids in prompt] for prompt in prompts]).T  # (R, P)
        missing = ends - self.cached[:, list(slots)]  # (R, P)
        for run in self.plan.rows_together(missing.max(dim=1).values.tolist()):
            self._read_rows(run, slots, prompts, ends[list(run)])
            self.read_tokens += int(missing[list(run)].sum())

    def _read_rows(
        self, run: range, slots: Sequence[int], prompts: Sequence[Sequence[Tensor]], ends: Tensor
    ) -> None:
        """The same for a run of r rows, padded on the right; ends (r, P) are the lengths to reach."""
        begins = self.cached[run.start : run.stop, list(slots)]  # (r, P)
        longest = int((ends - begins).max())
        tokens = torch.zeros(len(run), len(slots), longest, dtype=torch.long)  # (r, P, T)
        for r, at in ((r, at) for r in range(len(run)) for at in range(len(slots))):
            new = prompts[at][run[r]][begins[r, at] : ends[r, at]]
            tokens[r, at, : len(new)] = new
        first = self._physical(torch.tensor(list(slots)))[run.start : run.stop, :, 0].flatten()  # (r*P,)
        whole = len(first) == self.cache.span.total and list(slots) == sorted(slots)
        even = bool((begins == begins[0, 0]).all())
        start: int | Tensor = int(begins[0, 0]) if even else begins.flatten()
        block = max(1, self.plan.prefill_block // len(slots))
        for at in range(0, longest, block):
            part = tokens[:, :, at : at + block].flatten(0, 1)  # (r*P, block)
            with self._experts(run):
                self.forward.read(self.cache, part, start + at, None if whole else first)
        for n in range(1, self.candidates):
            self.cache.copy_rows(first, first + n, int(begins.min()), int(ends.max()))
        for at, b in enumerate(slots):
            self.cached[run.start : run.stop, b] = self.shared[run.start : run.stop, b] = ends[:, at]

    def score(self, drafts: Tensor) -> Scores:
        """Log-probabilities after the last committed token and after each drafted one.

        drafts: (B, N, T) token ids, T >= 0. Returns scores of T+1 positions, float32. The drafts belong to
        the sequence until `commit` drops them. `check` raises for NaN.
        """
        R, B, N, T = self.rows, self.batch, self.candidates, drafts.shape[2]
        pending = self.pending.counts  # (B,)
        tokens = self.pending.with_drafts(drafts.cpu())  # (R, B, N, fed)
        fed = tokens.shape[3]
        logits = self._logits(tokens)  # (R, B, N, fed, V)
        if bool((pending == fed - T).all()):
            logits = logits[:, :, :, fed - T - 1 :]  # (R, B, N, T+1, V)
        else:
            at = to_device(pending[:, None] - 1 + torch.arange(T + 1), logits.device)  # (B, T+1)
            logits = logits.gather(
                3, at[None, :, None, :, None].expand(R, B, N, T + 1, logits.shape[-1])
            )  # (R, B, N, T+1, V)
        self.cached += pending + T
        self.pending.clear()
        return self._scores(logits)

    def check(self) -> None:
        """Raise NumericsError, naming the row, if a pass since the last check has returned NaN."""
        bad, self._bad = self._bad, None
        if bad is not None and bool(bad.any()):
            name = self.names[int(bad.nonzero()[0, 0])]
            raise NumericsError(
                f"the model returned NaN in the row of {name}",
                hint="try --dtype float32; if that fails, the weights of that model or adapter are damaged",
            )

    def push(self, tokens: Tensor) -> None:
        """Append one pending token to each candidate of each sequence, (B, N)."""
        self.pending.append(tokens.cpu())

    def commit(
        self, drop: Sequence[int], tokens: Sequence[Sequence[int]], winner: Sequence[int] | None = None
    ) -> None:
        """For each sequence: drop its last `drop` tokens, then append `tokens` as pending ones.

        `winner` is the candidate that continues (default 0); the others get a copy of its cache.
        """
        best = [0] * self.batch if winner is None else winner
        if not len(drop) == len(tokens) == len(best) == self.batch:
            raise RuntimeError(f"internal error: commit got {len(drop)} sequences of {self.batch}")
        dropped = torch.tensor(drop)  # (B,)
        self.cached -= (dropped - self.pending.counts).clamp(min=0)
        self.pending.commit(dropped, tokens, best)
        if self.candidates > 1:
            for b in range(self.batch):
                self._share(b, best[b])

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences in these slots, in this order; a slot given twice is duplicated."""
        index = torch.tensor(list(slots), dtype=torch.long)
        self.cache.select_rows(self._physical(index).flatten())
        self.batch = len(index)
        self.cached, self.shared = self.cached[:, index], self.shared[:, index]
        self.pending.select(index)

    def bytes_per_token(self) -> int:
        """Bytes in the cache for one more token of every sequence."""
        return self.batch * self._position_bytes

    # -- passes ----------------------------------------------------------------------------------

    def _logits(self, tokens: Tensor) -> Tensor:
        """Logits (R, B, N, T, V) after each of the tokens (R, B, N, T)."""
        lengths: list[int] = self.cached.max(dim=0).values.tolist()  # B
        together = self.plan.sequences_together(lengths, self._position_bytes, self._weight_bytes)
        if len(together) == 1:
            return self._pass(tokens, None)
        parts = [torch.tensor(part) for part in together]
        logits = torch.cat([self._pass(tokens[:, part], part) for part in parts], dim=1)
        return logits[:, torch.cat(parts).argsort()]

    def _pass(self, tokens: Tensor, slots: Tensor | None) -> Tensor:
        """Logits (R, P, N, T, V) of one pass over tokens (R, P, N, T) of the sequences in these slots."""
        R, P, N, T = tokens.shape
        cached = self.cached if slots is None else self.cached[:, slots]  # (R, P)
        start: int | Tensor = int(cached[0, 0])
        if not bool((cached == start).all()):
            start = cached[:, :, None].expand(R, P, N).reshape(-1)  # (R*P*N,)
        rows = None if slots is None else self._physical(slots).flatten()
        tokens, alone = tokens.reshape(R * P * N, T), self.batch == 1
        with self._experts():
            logits = self.forward.score(self.cache, tokens, start, rows, alone=alone)
        return logits.view(R, P, N, T, -1)

    def _physical(self, slots: Tensor) -> Tensor:
        """The physical rows (R, P, N) of the sequences in these slots."""
        rows = torch.arange(self.rows)[:, None, None] * self.batch + slots[:, None]  # (R, P, 1)
        return rows * self.candidates + torch.arange(self.candidates)  # (R, P, N)

    def _share(self, b: int, winner: int) -> None:
        """Copy the cache of the winner to the other candidates of sequence b, from where they differ."""
        begin, end = int(self.shared[:, b].min()), int(self.cached[:, b].max())
        if begin < end:
            first = (torch.arange(self.rows) * self.batch + b) * self.candidates  # (R,)
            others = torch.tensor([n for n in range(self.candidates) if n != winner])
            target = (first[:, None] + others).flatten()  # (R * (N-1),)
            source = (first + winner).repeat_interleave(len(others))  # (R * (N-1),)
            self.cache.copy_rows(source, target, begin, end)
        self.shared[:, b] = self.cached[:, b]

    def _experts(self, run: range | None = None) -> AbstractContextManager[None]:
        return nullcontext() if self.bank is None else self.bank.active(self.stack, self.rows, run)

    def _scores(self, logits: Tensor) -> Scores:
        """Scores from logits (R, B, N, T+1, V), which may be overwritten; NaN is recorded for `check`."""
        logits = self.vocabulary.fit(logits) if self.vocabulary else logits.float()
        first = self.vocabulary.first if self.vocabulary else 0
        logit = logits[..., first].clone()  # (R, B, N, T+1)
        log_probs = log_softmax_(logits)
        own = log_probs[..., first]
        bad = own.isnan().flatten(1).any(dim=1)  # (R,); a NaN logit makes its whole distribution NaN
        self._bad = bad if self._bad is None else self._bad | bad
        return Scores(log_probs, logit - own)
