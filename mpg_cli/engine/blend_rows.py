"""The rows of a blend on a loaded model: reference, experts, and the row of the drafter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mpg_cli.engine.profile import read_profile
from mpg_cli.engine.profile_key import profile_key, versions
from mpg_cli.errors import UsageError
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.adapter import Adapter, Row
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.forward import position_bytes
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import NewRow, NewRows
from mpg_cli.models.text.vocabulary import Vocabulary, served_tokens
from mpg_cli.sampling.params import Scheme

CHUNK_SIZE = 4  # gamma of the untuned threshold rule, whose thresholds need a fixed chunk size


@dataclass(frozen=True)
class DraftRow:
    """The drafter of a blend: its name, its label in messages and, if it is a row, the model, adapters and
    system prompt of that row.
    """

    name: str
    label: str = ""
    model: Any = None
    adapters: Row = ()
    prompt: str | None = None

    @property
    def steps(self) -> bool:
        """Whether it is a row of a model."""
        return self.model is not None


@dataclass(frozen=True, eq=False)
class BlendRows:
    """The rows of a blend. `scheme` has the drafter and chunk size that hold; `notices` are for the user."""

    loaded: LoadedModel
    experts: tuple[Expert, ...]
    scheme: Scheme
    draft: DraftRow
    vocabulary: Vocabulary
    notices: tuple[str, ...] = ()
    automatic: bool = False  # whether `auto` chose the drafter, without a profile
    origin: BlendRows | None = None  # that these were made from, kept loaded

    @cached_property
    def key(self) -> str:
        """What the acceptance of drafts depends on."""
        experts = "+".join(f"{expert.name}:{expert.weight:g}" for expert in self.experts)
        return f"{experts} {self.scheme.target} {self.draft.name}"

    @property
    def drafts(self) -> bool:
        """Whether it has a drafter."""
        return self.draft.name != "none"

    def without_drafter(self) -> BlendRows:
        """The same, token by token."""
        scheme = replace(self.scheme, drafter="none", chunk_size=0)
        return replace(self, draft=DraftRow("none"), scheme=scheme, origin=self)

    @property
    def weights(self) -> tuple[float, ...]:
        """Those of rows 1..K."""
        return () if self.scheme.target == "merged" else tuple(expert.weight for expert in self.experts)

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """The system prompt of every row."""
        if self.scheme.target == "merged":
            return (joined_prompts(self.experts),)
        return (None, *(expert.prompt for expert in self.experts))

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        experts: Sequence[Expert],
        scheme: Scheme,
        smaller: LoadedModel | None = None,
    ) -> BlendRows:
        """`smaller` is the drafting model, where the scheme names one."""
        notices: list[str] = []
        if scheme.target == "merged":
            notices += _check_merged(experts)
        automatic = scheme.drafter == "auto"
        decided = _decided(loaded, experts, scheme, notices)
        draft = _Drafts(loaded, tuple(experts), notices).row(decided, smaller)
        vocabulary = common_vocabulary(loaded, experts)
        scheme = replace(scheme, drafter=draft.name, chunk_size=decided.chunk_size)
        automatic = automatic and scheme.chunk_size is None
        return cls(loaded, tuple(experts), scheme, draft, vocabulary, tuple(notices), automatic)

    def new_rows(
        self, prompts: Sequence[Sequence[int]], candidates: int | None = None
    ) -> list[tuple[Any, NewRows]]:
        """The rows of a sequence with these prompts, the reference first: those of the base with its
        adapters, then each checkpoint. `candidates` are those of the scheme unless given.
        """
        N = candidates or self.scheme.threshold.candidates
        if self.scheme.target == "merged":
            row = NewRow(_label(self.experts), merged_adapters(self.experts), prompts[0])
            return [(self.loaded.model, NewRows([row], N, self.vocabulary))]
        rows = [NewRow("reference", (), prompts[0])]
        others = []
        for expert, prompt in zip(self.experts, prompts[1:], strict=True):
            adapters = ((expert.adapter, 1.0),) if expert.adapter is not None else ()
            row = NewRow(expert.name, adapters, prompt)
            if expert.checkpoint is None:
                rows.append(row)
            else:
                others.append((expert.checkpoint, NewRows([row], N, self.vocabulary)))
        return [(self.loaded.model, NewRows(rows, N, self.vocabulary)), *others]

    def draft_rows(self, prompt: Sequence[int]) -> NewRows:
        """The row of the drafter."""
        row = NewRow(self.draft.label, self.draft.adapters, prompt)
        return NewRows([row], self.scheme.threshold.candidates, self.vocabulary)

    @cached_property
    def scored(self) -> list[tuple[Any, int]]:
        """Pairs of a model and the number of its physical rows for a sequence, without the drafter's."""
        N = self.scheme.threshold.candidates
        checkpoints = [e.checkpoint for e in self.experts if e.checkpoint is not None]
        own = 1 if self.scheme.target == "merged" else 1 + len(self.experts) - len(checkpoints)
        found = [(self.loaded.model, N * own)]
        return [*found, *((model, N) for model in checkpoints)]

    @cached_property
    def adapted(self) -> list[Row]:
        """The rows on the base that have adapters."""
        if self.scheme.target == "merged":
            found = [merged_adapters(self.experts)]
        else:
            found = [((e.adapter, 1.0),) for e in self.experts if e.adapter is not None]
        own = self.draft.model is self.loaded.model
        return [row for row in (*found, *([self.draft.adapters] if own else [])) if row]

    @property
    def counts(self) -> list[tuple[Any, int]]:
        """The same with the drafter's."""
        drafted = [(self.draft.model, self.scheme.threshold.candidates)] if self.draft.steps else []
        return [*self.scored, *drafted]

    @property
    def position_bytes(self) -> int:
        """Bytes in the caches for one more token of a sequence."""
        return sum(rows * position_bytes(model) for model, rows in self.counts)

    def memory(self) -> dict[str, int]:
        """Bytes of weights, of adapters, and of the caches for one more token of a sequence."""
        models = {id(model): model for model, _ in self.counts}
        tensors = ((*model.parameters(), *model.buffers()) for model in models.values())
        shared = {id(tensor): tensor for of_model in tensors for tensor in of_model}  # folds share some
        adapters = {e.adapter.fingerprint: e.adapter for e in self.experts if e.adapter is not None}
        size = self.loaded.dtype.value.itemsize
        return {
            "weights_bytes": sum(p.numel() * p.element_size() for p in shared.values()),
            "adapters_bytes": size * sum(map(_numbers, adapters.values())),
            "cache_bytes_per_token": self.position_bytes,
        }


def common_vocabulary(loaded: LoadedModel, experts: Sequence[Expert]) -> Vocabulary:
    """The tokens that the base and all checkpoints of a blend share."""
    checkpoints = [expert.checkpoint for expert in experts if expert.checkpoint is not None]
    return loaded.vocabulary.below(served_tokens(loaded.model, *checkpoints))


def joined_prompts(experts: Sequence[Expert]) -> str | None:
    """The system prompts of the experts of positive weight as one."""
    return "\n\n".join(e.prompt for e in experts if e.prompt and e.weight > 0) or None


def merged_adapters(experts: Sequence[Expert], total: float = 1.0) -> Row:
    """The adapters of all experts with their weights, divided by `total`: one row that adds them up."""
    return tuple((e.adapter, e.weight / total) for e in experts if e.adapter is not None)


def _check_merged(experts: Sequence[Expert]) -> list[str]:
    """Notices on a blend that is merged into one row. Raises UsageError where that cannot be."""
    checkpoints = [e.name for e in experts if e.checkpoint is not None]
    if checkpoints:
        raise UsageError(
            f"--target merged cannot merge a full checkpoint: {', '.join(checkpoints)}",
            hint="use --target product, or personas with adapters or prompts",
        )
    away = [e.name for e in experts if e.prompt and e.adapter is None and e.weight < 0]
    if away:
        raise UsageError(
            f"--target merged cannot steer away from a system prompt: {', '.join(away)}",
            hint="use --target product, or a persona with an adapter",
        )
    weighted = [e.name for e in experts if e.prompt and e.weight != 1]
    if not weighted:
        return []
    return [f"--target merged joins system prompts, whose weights have no effect: {', '.join(weighted)}"]


def _label(experts: Sequence[Expert]) -> str:
    return f"the merged personas ({', '.join(expert.name for expert in experts)})"


def _numbers(adapter: Adapter) -> int:
    return sum(pair.a.numel() + pair.b.numel() for pair in adapter.pairs.values())


def _decided(loaded: LoadedModel, experts: Sequence[Expert], scheme: Scheme, notices: list[str]) -> Scheme:
    """The scheme with `auto` replaced: drafter and chunk size of the profile, where there is one.

    Without a profile the drafter is merged and the chunk size adaptive, or CHUNK_SIZE under the threshold
    rule.
    """
    drafter, size = scheme.drafter, scheme.chunk_size
    profile = None
    if drafter != "none" and (drafter == "auto" or size is None):
        profile, notice = read_profile(profile_key(loaded, experts, scheme), versions())
        notices += [notice] if notice else []
    if drafter == "auto":
        found = profile.drafter if profile else None
        merged = "none" if scheme.target == "merged" else "merged"  # such a draft costs as much as the target
        drafter = merged if found is None or (found == "none" and size) else found
    if size is None and profile:
        size = profile.chunk_size(drafter, scheme.threshold.candidates)
    if size is None and scheme.rule == "threshold":
        size = CHUNK_SIZE
    return replace(scheme, drafter=drafter, chunk_size=0 if drafter == "none" else size)


@dataclass(frozen=True)
class _Drafts:
    """Builds the drafter of a blend (docs/algorithm.md, "Drafters")."""

    loaded: LoadedModel
    experts: tuple[Expert, ...]
    notices: list[str]

    def row(self, scheme: Scheme, smaller: LoadedModel | None) -> DraftRow:
        """The drafter that a scheme names."""
        drafter = scheme.drafter
        if drafter == "none" or scheme.chunk_size == 0:
            return DraftRow("none")
        if drafter == "lookup":
            return DraftRow(drafter)
        if drafter == "reference":
            return self._on_base("reference", (), None)
        if drafter in ("merged", "folded"):
            return self._merged(scheme.target == "mixture", drafter == "folded")
        if smaller is not None and drafter.startswith("model:"):
            prompts = [e.persona_prompt for e in self.experts if e.persona_prompt and e.weight > 0]
            prompt = "\n\n".join(prompts) or None
            return DraftRow(drafter, f"the drafter {smaller.id}", smaller.model, (), prompt)
        wanted = drafter.removeprefix("persona:").lower()
        expert = next(e for e in self.experts if e.name.lower() == wanted)
        name = f"persona:{expert.name}"
        if expert.checkpoint is not None:
            return DraftRow(name, "the drafter", expert.checkpoint, (), expert.prompt)
        return self._on_base(name, ((expert.adapter, 1.0),) if expert.adapter else (), expert.prompt)

    def _merged(self, normalise: bool, folded: bool) -> DraftRow:
        """One row that approximates the target: the weighted sum of all adapters, and the joined prompts of
        positive weight. `folded` adds the sum into a dense copy of the weights.
        """
        total = sum(e.weight for e in self.experts) if normalise else 1.0
        row, prompt = merged_adapters(self.experts, total), joined_prompts(self.experts)
        left_out = [e.name for e in self.experts if e.checkpoint is not None]
        if not row and not prompt:
            self.notices.append("nothing to merge for the drafter: the reference drafts instead")
            return self._on_base("reference", (), None)
        if left_out:
            self.notices.append(f"the merged drafter leaves out the checkpoints {', '.join(left_out)}")
        if not folded:
            return self._on_base("merged", row, prompt)
        if not row:
            self.notices.append("no adapter to fold: the merged drafter is a row of the base")
            return self._on_base("merged", row, prompt)
        label = f"the folded drafter ({', '.join(e.name for e in self.experts if e.adapter)})"
        return DraftRow("folded", label, LoraBank.of(self.loaded.model).folded(row), (), prompt)

    def _on_base(self, name: str, row: Row, prompt: str | None) -> DraftRow:
        label = f"the {name} drafter"
        if name == "merged":
            label += f" ({', '.join(expert.name for expert in self.experts)})"
        return DraftRow(name, label, self.loaded.model, row, prompt)
