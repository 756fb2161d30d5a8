"""A blend on a loaded model: the rows of its forward passes, and its drafter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from mpg_cli.engine.profile import read_profile
from mpg_cli.engine.profile_key import profile_key, versions
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.adapter import Row
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.models.run.row_group import RowGroup
from mpg_cli.models.run.rows import Rows
from mpg_cli.models.run.step_row import StepRow
from mpg_cli.models.text.vocabulary import Vocabulary, served_tokens
from mpg_cli.sampling.drafters import Cost, Drafter, LookupDrafter, NullDrafter, RowDrafter
from mpg_cli.sampling.params import Scheme

ROW_COST = 0.12  # cost of another row on the same model, as a share of a pass (benchmarks/pass_cost.py)

CHUNK_SIZE = 4  # gamma of the untuned threshold rule, whose thresholds need a fixed chunk size


@dataclass(frozen=True)
class DraftSource:
    """The drafter with its name, its row and the system prompt of that row; a lookup has no row."""

    name: str
    drafter: Drafter
    group: RowGroup | None = None
    prompt: str | None = None


def common_vocabulary(loaded: LoadedModel, experts: Sequence[Expert]) -> Vocabulary:
    """The tokens that the base and all checkpoints of a blend share."""
    checkpoints = [expert.checkpoint for expert in experts if expert.checkpoint is not None]
    return loaded.vocabulary.below(served_tokens(loaded.model, *checkpoints))


class BlendRows:
    """The rows of one blend for B sequences: reference, experts, and the row of the drafter.

    Each sequence has N `candidates`, by default the scheme's. `smaller` is the drafting model, where the
    scheme names one; `notices` are messages for the user. Rows of `before` with the same weights are reused
    with their cache.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        bank: LoraBank,
        experts: Sequence[Expert],
        scheme: Scheme,
        *,
        batch: int = 1,
        candidates: int | None = None,
        smaller: LoadedModel | None = None,
        before: BlendRows | None = None,
    ) -> None:
        self.loaded, self.bank, self.experts = loaded, bank, tuple(experts)
        self.batch, self.candidates = batch, candidates or scheme.threshold.candidates
        self.notices: list[str] = []
        self._reusable = before.groups if before else ()
        scheme = self._decide(scheme)
        self.vocabulary = common_vocabulary(loaded, experts)
        self.chunk_size = scheme.chunk_size  # gamma; None: adaptive
        self.rows = self._build_rows()
        self.draft = self._build_drafter(scheme, smaller)
        self._reusable = ()

    def prefill(self, prompts: Sequence[Sequence[Sequence[int]]], drafts: Sequence[Sequence[int]]) -> None:
        """Prefill the prompts of all rows and, for each sequence, that of the drafter."""
        self.insert(range(self.batch), prompts, drafts)

    def insert(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[Sequence[int]]],
        drafts: Sequence[Sequence[int]],
    ) -> None:
        """Prefill new sequences in these slots; the other slots keep their state."""
        self.rows.insert(slots, prompts)
        self.draft.drafter.insert(slots, drafts)

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences of these slots, in this order; a slot given twice is duplicated."""
        self.batch = len(slots)
        self.rows.select(slots)
        self.draft.drafter.select(slots)

    def release(self, successor: BlendRows | None = None) -> None:
        """Free the adapters that the successor does not reuse; these rows are unusable afterwards."""
        for group in self.groups:
            if group.stack is not None and not (successor and group in successor.groups):
                self.bank.remove(group.stack)

    def reset(self) -> None:
        """Empty all caches, after an exception in the middle of a pass."""
        for group in self.groups:
            group.reset()

    def prompt_tokens(self, prompts: Sequence[Sequence[int]], draft: Sequence[int]) -> int:
        """Prompt tokens of all rows and the drafter's, before any reuse of the cache."""
        drafted = [draft] if self.draft.group else []
        return sum(len(ids) - 1 for ids in (*prompts, *drafted))

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have prefilled so far, reused ones not counted."""
        return sum(group.read_tokens for group in self.groups)

    @property
    def groups(self) -> tuple[RowGroup, ...]:
        """The groups of all rows, the drafter's included; a group runs on one model."""
        extra = [self.draft.group] if self.draft.group else []
        return (*self.rows.groups, *extra)

    @property
    def cost(self) -> Cost:
        """An estimate of the cost of a round, in steps of one row.

        A pass reads the weights of each model once; every further row adds ROW_COST.
        """
        score = sum(1 + ROW_COST * (group.rows - 1) for group in self.rows.groups)
        if self.draft.group is None:
            return Cost(step=0.0, score=score)
        models = (self.draft.group.model, self.loaded.model)
        of_drafter, of_base = (sum(p.numel() for p in model.parameters()) for model in models)
        return Cost(step=of_drafter / of_base, score=score)

    def memory(self) -> dict[str, int]:
        """Bytes of weights, of adapters, and of the cache for one more token of every sequence."""
        models = {id(group.model): group.model for group in self.groups}
        tensors = ((*model.parameters(), *model.buffers()) for model in models.values())
        shared = {id(tensor): tensor for of_model in tensors for tensor in of_model}  # folds share some
        return {
            "weights_bytes": sum(p.numel() * p.element_size() for p in shared.values()),
            "adapters_bytes": self.bank.memory(),
            "cache_bytes_per_token": sum(group.bytes_per_token() for group in self.groups),
        }

    def _decide(self, scheme: Scheme) -> Scheme:
        """The scheme with `auto` replaced: drafter and chunk size of the profile, where there is one.

        Without a profile the drafter is merged and the chunk size adaptive, or CHUNK_SIZE under the threshold
        rule.
        """
        drafter, size = scheme.drafter, scheme.chunk_size
        profile = None
        if drafter != "none" and (drafter == "auto" or size is None):
            profile, notice = read_profile(profile_key(self.loaded, self.experts, scheme), versions())
            self.notices += [notice] if notice else []
        if drafter == "auto":
            found = profile.drafter if profile else None
            drafter = "merged" if found is None or (found == "none" and size) else found
        if size is None and profile:
            size = profile.chunk_size(drafter, self.candidates)
        if size is None and scheme.rule == "threshold":
            size = CHUNK_SIZE
        return replace(scheme, drafter=drafter, chunk_size=0 if drafter == "none" else size)

    # -- rows ------------------------------------------------------------------------------------

    def _build_rows(self) -> Rows:
        """The reference, prompt experts and adapter experts on the base; each checkpoint on its own."""
        own = [expert for expert in self.experts if expert.checkpoint is None]
        loras = [[(e.adapter, 1.0)] for e in own if e.adapter is not None]
        base = self._group(self.loaded.model, ["reference", *(expert.name for expert in own)], loras)
        others = [self._group(e.checkpoint, [e.name]) for e in self.experts if e.checkpoint is not None]
        return Rows([base, *others])

    def _group(
        self, model: Any, names: Sequence[str], loras: Sequence[Row] = (), kind: type[RowGroup] = RowGroup
    ) -> RowGroup:
        """Rows of a model, the last of them with these adapters; reuses existing rows and caches."""
        own = model is self.loaded.model
        plain = [()] * (len(names) - len(loras))
        keys = (*plain, *(tuple((adapter.fingerprint, weight) for adapter, weight in row) for row in loras))
        for group in self._reusable:
            same = group.model is model and (group.names, group.keys) == (tuple(names), keys)
            if same and type(group) is kind:
                return group
        group = kind(
            model,
            names,
            batch=self.batch,
            candidates=self.candidates,
            bank=self.bank if own else None,
            stack=self._stack(loras),
            vocabulary=self.vocabulary,
            keys=keys,
        )
        group.reuse_prefix(self._reusable)
        return group

    def _stack(self, rows: Sequence[Row]) -> str | None:
        """Add a stack of these rows to the bank; returns its name, None without rows."""
        if not rows:
            return None
        # The lowest free number: passes compiled for a name are reused by the next stack of that name.
        name = next(name for name in map("stack {}".format, count()) if name not in self.bank.names)
        self.bank.add(name, rows)
        return name

    # -- the drafter (docs/algorithm.md, "Drafters") ---------------------------------------------

    def _build_drafter(self, scheme: Scheme, smaller: LoadedModel | None) -> DraftSource:
        drafter = scheme.drafter
        if drafter == "none" or scheme.chunk_size == 0:
            return DraftSource("none", NullDrafter())
        if drafter == "lookup":
            return DraftSource(drafter, LookupDrafter(self.batch))
        if drafter == "reference":
            return self._draft_row("reference", [], None)
        if drafter in ("merged", "folded"):
            return self._merged(scheme.target == "mixture", drafter == "folded")
        if smaller is not None and drafter.startswith("model:"):
            prompts = [e.persona_prompt for e in self.experts if e.persona_prompt and e.weight > 0]
            group = self._group(smaller.model, [f"the drafter {smaller.id}"], kind=StepRow)
            return _stepped(drafter, group, "\n\n".join(prompts) or None)
        wanted = drafter.removeprefix("persona:").lower()
        expert = next(e for e in self.experts if e.name.lower() == wanted)
        if expert.checkpoint is not None:
            group = self._group(expert.checkpoint, ["drafter"], kind=StepRow)
            return _stepped(f"persona:{expert.name}", group, expert.prompt)
        row = [(expert.adapter, 1.0)] if expert.adapter else []
        return self._draft_row(f"persona:{expert.name}", row, expert.prompt)

    def _merged(self, normalise: bool, folded: bool) -> DraftSource:
        """One row that approximates the target: the weighted sum of all adapters, and the joined prompts of
        positive weight. `folded` adds the sum into a dense copy of the weights.
        """
        total = sum(e.weight for e in self.experts) if normalise else 1.0
        row = [(e.adapter, e.weight / total) for e in self.experts if e.adapter is not None]
        prompts = [e.prompt for e in self.experts if e.prompt and e.weight > 0]
        left_out = [e.name for e in self.experts if e.checkpoint is not None]
        if not row and not prompts:
            self.notices.append("nothing to merge for the drafter: the reference drafts instead")
            return self._draft_row("reference", [], None)
        if left_out:
            self.notices.append(f"the merged drafter leaves out the checkpoints {', '.join(left_out)}")
        prompt = "\n\n".join(prompts) or None
        if not folded:
            return self._draft_row("merged", row, prompt)
        if not row:
            self.notices.append("no adapter to fold: the merged drafter is a row of the base")
            return self._draft_row("merged", row, prompt)
        label = f"the folded drafter ({', '.join(e.name for e in self.experts if e.adapter)})"
        return _stepped("folded", self._group(self.bank.folded(row), [label], kind=StepRow), prompt)

    def _draft_row(self, name: str, row: Row, prompt: str | None) -> DraftSource:
        label = f"the {name} drafter"
        if name == "merged":
            label += f" ({', '.join(expert.name for expert in self.experts)})"
        group = self._group(self.loaded.model, [label], [row] if row else [], StepRow)
        return _stepped(name, group, prompt)


def _stepped(name: str, group: RowGroup, prompt: str | None) -> DraftSource:
    return DraftSource(name, RowDrafter(group), group, prompt)
