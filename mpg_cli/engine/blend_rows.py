"""A blend on a loaded model: the rows of its forward pass, and its drafter."""

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

ROW_COST = 0.12  # of a pass: one more row on the same model (benchmarks/pass_cost.py)

CHUNK_SIZE = 4  # gamma of the threshold rule until it is tuned: its thresholds belong to chunks of one size


@dataclass(frozen=True)
class DraftSource:
    """The drafter, its name, the row that it steps and that row's system prompt. A lookup has no row."""

    name: str
    drafter: Drafter
    group: RowGroup | None = None
    prompt: str | None = None


def common_vocabulary(loaded: LoadedModel, experts: Sequence[Expert]) -> Vocabulary:
    """The tokens that the base and all checkpoints of a blend have: what it reads and samples."""
    checkpoints = [expert.checkpoint for expert in experts if expert.checkpoint is not None]
    return loaded.vocabulary.below(served_tokens(loaded.model, *checkpoints))


class BlendRows:
    """Rows for a batch of B sequences of one blend: reference, experts, and the drafter's.

    Each sequence has N `candidates`, by default the scheme's. `smaller` is the model that drafts, where the
    scheme names one; `notices` is what the user should know. Rows of `before` with the same weights are
    reused with what they have read.
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
        self.chunk_size = scheme.chunk_size  # gamma; None: each reply finds its own
        self.rows = self._build_rows()
        self.draft = self._build_drafter(scheme, smaller)
        self._reusable = ()

    def prefill(self, prompts: Sequence[Sequence[Sequence[int]]], drafts: Sequence[Sequence[int]]) -> None:
        """Read the prompts of all rows and, for each sequence, the drafter's."""
        self.insert(range(self.batch), prompts, drafts)

    def insert(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[Sequence[int]]],
        drafts: Sequence[Sequence[int]],
    ) -> None:
        """Prefill other sequences in these slots; the others keep their state."""
        self.rows.insert(slots, prompts)
        self.draft.drafter.insert(slots, drafts)

    def select(self, slots: Sequence[int]) -> None:
        """Keep the sequences of these slots, in this order; one that is named twice is there twice."""
        self.batch = len(slots)
        self.rows.select(slots)
        self.draft.drafter.select(slots)

    def release(self, successor: BlendRows | None = None) -> None:
        """Free the adapters' memory except what the successor reuses; these rows cannot be used any more."""
        for group in self.groups:
            if group.stack is not None and not (successor and group in successor.groups):
                self.bank.remove(group.stack)

    def reset(self) -> None:
        """Drop everything that was read: what an exception left in the middle of a pass."""
        for group in self.groups:
            group.reset()

    def prompt_tokens(self, prompts: Sequence[Sequence[int]], draft: Sequence[int]) -> int:
        """Tokens that all rows and the drafter's read of a prompt if none of it is cached."""
        drafted = [draft] if self.draft.group else []
        return sum(len(ids) - 1 for ids in (*prompts, *drafted))

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far."""
        return sum(group.read_tokens for group in self.groups)

    @property
    def groups(self) -> tuple[RowGroup, ...]:
        """All rows by the model that they run on, the drafter's included."""
        extra = [self.draft.group] if self.draft.group else []
        return (*self.rows.groups, *extra)

    @property
    def cost(self) -> Cost:
        """What a round costs in steps of one row, before anything is measured.

        A pass reads the weights of each model once, and its further rows cost a little more each.
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
        shared = {id(tensor): tensor for of_model in tensors for tensor in of_model}  # a folded copy shares
        return {
            "weights_bytes": sum(p.numel() * p.element_size() for p in shared.values()),
            "adapters_bytes": self.bank.memory(),
            "cache_bytes_per_token": sum(group.bytes_per_token() for group in self.groups),
        }

    def _decide(self, scheme: Scheme) -> Scheme:
        """With a drafter and a chunk size: those asked for, else the profile's.

        Without a profile merged drafts, and every reply finds its chunk size, but for the threshold rule.
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
        """Rows of a model, the last of them with these LoRA, and what they have read before."""
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
        """A new stack of the bank with these rows; None for none."""
        if not rows:
            return None
        # The lowest free number: what was compiled for a name serves the next stack of that name.
        name = next(name for name in map("stack {}".format, count()) if name not in self.bank.names)
        self.bank.add(name, rows)
        return name

    # -- the drafter (algorithm page, section 3) -------------------------------------------------

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
        """One row that approximates the target: the weighted sum of all LoRA, the joined prompts of
        positive weight.

        Folded, it runs on a dense copy of the weights with that sum added in.
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
