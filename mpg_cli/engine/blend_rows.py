"""A blend on a loaded model: the rows of its forward pass, and who drafts for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from mpg_cli.engine.profile import read_profile
from mpg_cli.engine.profile_key import key_of, versions
from mpg_cli.models.delta import Row
from mpg_cli.models.experts import Expert
from mpg_cli.models.fast.prepacked import copies, own_parameters
from mpg_cli.models.loader import LoadedModel
from mpg_cli.models.lora import LoraBank
from mpg_cli.models.rows import RowGroup, Rows
from mpg_cli.models.steps import StepRow
from mpg_cli.models.tokenizer import served_tokens
from mpg_cli.models.vocabulary import Vocabulary
from mpg_cli.sampling.drafters import LookupDrafter, RowDrafter
from mpg_cli.sampling.pace import Cost
from mpg_cli.sampling.params import Scheme

ROW_COST = 0.12  # of a pass: one more row on the same model (benchmarks/pass_cost.py)

CHUNK_SIZE = 4  # gamma of the threshold rule until it is tuned: its thresholds belong to chunks of one size


@dataclass(frozen=True)
class DraftRow:
    """The row that drafts: which it is and the system prompt that it hears. A lookup has no row."""

    name: str
    group: RowGroup | None
    prompt: str | None = None


def common_vocabulary(loaded: LoadedModel, experts: Sequence[Expert]) -> Vocabulary:
    """The tokens that the base and all checkpoints of a blend have: what it reads and samples."""
    checkpoints = [expert.checkpoint for expert in experts if expert.checkpoint is not None]
    return loaded.vocabulary.below(served_tokens(loaded.model, *checkpoints))


class Lineup:
    """Rows for a batch of B sequences of one blend: reference, experts, and the drafter's.

    `smaller` is the model that drafts, where the scheme names one; `notices` is what the user should know.
    Of the lineup `before` it takes over what rows of the same weights have read.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        bank: LoraBank,
        experts: Sequence[Expert],
        scheme: Scheme,
        *,
        batch: int = 1,
        smaller: LoadedModel | None = None,
        before: Lineup | None = None,
    ) -> None:
        self.loaded, self.bank, self.experts = loaded, bank, tuple(experts)
        self.batch, self.candidates = batch, scheme.threshold.candidates
        self.notices: list[str] = []
        self._inherited = before.groups if before else ()
        scheme = self._decide(scheme)
        self.vocabulary = common_vocabulary(loaded, experts)
        self.chunk_size = scheme.chunk_size  # gamma; None: each reply finds its own
        self.rows = self._build_rows()
        self.draft = None if self.chunk_size == 0 else self._build_drafter(scheme, smaller)
        self._inherited = ()

    def prefill(
        self, prompts: Sequence[Sequence[Sequence[int]]], drafts: Sequence[Sequence[int]]
    ) -> RowDrafter | LookupDrafter | None:
        """Read the prompts of all rows and, for each sequence, the drafter's; returns the drafter."""
        self.rows.prefill(prompts)
        if self.draft is None:
            return None
        if self.draft.group is None:
            return LookupDrafter(drafts)
        self.draft.group.prefill([[ids] for ids in drafts])
        return RowDrafter(self.draft.group)

    def replace(
        self,
        places: Sequence[int],
        prompts: Sequence[Sequence[Sequence[int]]],
        drafts: Sequence[Sequence[int]],
        drafter: object,
    ) -> None:
        """Read the prompts of other sequences in these places; the others keep their state."""
        self.rows.replace(places, prompts)
        if isinstance(drafter, LookupDrafter):
            for b, draft in zip(places, drafts, strict=True):
                drafter.replace(b, draft)
        elif self.draft and self.draft.group:
            self.draft.group.replace(places, [[ids] for ids in drafts])

    def select(self, places: Sequence[int], drafter: object) -> None:
        """Go on with the sequences in these places; one that is named twice is there twice."""
        self.batch = len(places)
        self.rows.select(places)
        if isinstance(drafter, LookupDrafter):
            drafter.select(places)
        elif self.draft and self.draft.group:
            self.draft.group.select(places)

    def release(self, heir: Lineup | None = None) -> None:
        """Give up the adapters' memory but for that of the heir; the lineup cannot be used any more."""
        for group in self.groups:
            if group.stack is not None and not (heir and group in heir.groups):
                self.bank.remove(group.stack)

    def forget(self) -> None:
        """Drop everything that was read: what an exception left in the middle of a pass."""
        for group in self.groups:
            group.forget()

    def to_read(self, prompts: Sequence[Sequence[int]], draft: Sequence[int]) -> int:
        """Tokens that all rows and the drafter's read of a prompt if they know nothing of it."""
        drafted = [draft] if self.draft and self.draft.group else []
        return sum(len(ids) - 1 for ids in (*prompts, *drafted))

    @property
    def read_tokens(self) -> int:
        """Prompt tokens that all rows have read so far."""
        return sum(group.read_tokens for group in self.groups)

    @property
    def groups(self) -> tuple[RowGroup, ...]:
        """All rows by the model that they run on, the drafter's included."""
        extra = [self.draft.group] if self.draft and self.draft.group else []
        return (*self.rows.groups, *extra)

    @property
    def cost(self) -> Cost:
        """What a round costs in steps of one row, before anything is measured.

        A pass reads the weights of each model once, and its further rows cost a little more each.
        """
        score = sum(1 + ROW_COST * (group.rows - 1) for group in self.rows.groups)
        if self.draft is None or self.draft.group is None:
            return Cost(step=0.0, score=score)
        models = (self.draft.group.model, self.loaded.model)
        of_drafter, of_base = (sum(p.numel() for p in own_parameters(model)) for model in models)
        return Cost(step=of_drafter / of_base, score=score)

    def memory(self) -> dict[str, int]:
        """Bytes of weights, of adapters, and of the cache for one more token of every sequence."""
        models = {id(group.model): group.model for group in self.groups}
        tensors = ((*model.parameters(), *copies(model)) for model in models.values())
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
            profile, notice = read_profile(key_of(self.loaded, self.experts, scheme), versions())
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
        for group in self._inherited:
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
        group.inherit(self._inherited)
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

    def _build_drafter(self, scheme: Scheme, smaller: LoadedModel | None) -> DraftRow | None:
        drafter = scheme.drafter
        if drafter == "lookup":
            return DraftRow(drafter, None)
        if drafter == "reference":
            return self._draft_row("reference", [], None)
        if drafter in ("merged", "folded"):
            return self._merged(scheme.target == "mixture", drafter == "folded")
        if smaller is not None and drafter.startswith("model:"):
            said = [e.persona_prompt for e in self.experts if e.persona_prompt and e.weight > 0]
            group = self._group(smaller.model, [f"the drafter {smaller.id}"], kind=StepRow)
            return DraftRow(drafter, group, "\n\n".join(said) or None)
        wanted = drafter.removeprefix("persona:").lower()
        expert = next(e for e in self.experts if e.name.lower() == wanted)
        if expert.checkpoint is not None:
            group = self._group(expert.checkpoint, ["drafter"], kind=StepRow)
            return DraftRow(f"persona:{expert.name}", group, expert.prompt)
        row = [(expert.adapter, 1.0)] if expert.adapter else []
        return self._draft_row(f"persona:{expert.name}", row, expert.prompt)

    def _merged(self, normalise: bool, folded: bool) -> DraftRow:
        """One row that approximates the target: the weighted sum of all LoRA, all welcome prompts joined.

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
        whose = f"the folded drafter ({', '.join(e.name for e in self.experts if e.adapter)})"
        return DraftRow("folded", self._group(self.bank.folded(row), [whose], kind=StepRow), prompt)

    def _draft_row(self, name: str, row: Row, prompt: str | None) -> DraftRow:
        whose = f"the {name} drafter"
        if name == "merged":
            whose += f" ({', '.join(expert.name for expert in self.experts)})"
        group = self._group(self.loaded.model, [whose], [row] if row else [], StepRow)
        return DraftRow(name, group, prompt)
