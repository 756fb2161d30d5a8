"""The expert of each persona on the loaded model: adapter, checkpoint, prompt, or prompt with an adapter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mpg_cli.io.text import visible
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.load.loader import LoadedModel, load_checkpoint
from mpg_cli.models.load.sources import fetch_adapter
from mpg_cli.models.prepare import prepare_model
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.base import Base, find_base
from mpg_cli.personas.choice import ExpertInfo, check_prompt, choose, notices
from mpg_cli.personas.matching import ExpertKind, Match
from mpg_cli.personas.registry import Blend
from mpg_cli.personas.schema import AdapterEntry, Persona

T = TypeVar("T")


class ExpertCache:
    """Adapters and checkpoints by their source, the most recently used `most` of them (None: all)."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._items: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The expert under the key, loaded if it is not there."""
        if key in self._items:
            self._items.move_to_end(key)
            found: T = self._items[key]
            return found
        item = self._items[key] = load()
        while self._most is not None and len(self._items) > self._most:
            self._items.popitem(last=False)
        return item


@dataclass(frozen=True)
class Expert:
    """One row beside the reference: a system prompt, an adapter, both, or another model's weights.

    `prompt` is the row's system prompt, `persona_prompt` the persona's own, which it uses on models that it
    has no adapter for. `basis` is the reason for taking an adapter that names another base.
    """

    name: str
    weight: float
    prompt: str | None = None
    adapter: Adapter | None = None
    checkpoint: Any = None
    persona_prompt: str | None = None
    basis: str | None = None

    @property
    def kind(self) -> ExpertKind:
        if self.checkpoint is not None:
            return "checkpoint"
        if self.adapter is not None:
            return "both" if self.prompt else "adapter"
        return "prompt"

    @property
    def info(self) -> ExpertInfo:
        return ExpertInfo(self.name, self.kind, self.weight)


def find_experts(
    blend: Blend | None,
    adapters: Sequence[tuple[AdapterPlace, float]],
    loaded: LoadedModel,
    report: Callable[[str], None],
    notice: Callable[[str], None],
    cache: ExpertCache | None = None,
) -> tuple[Expert, ...]:
    """The experts of a blend and of `--adapter`, in the order of their rows.

    That order is: prompts first, then adapters, then checkpoints, so that stacked rows are contiguous.
    `report` gets what takes time, `notice` what the user should know; `cache` keeps what is loaded.
    Raises PersonaError where a persona has no expert for this model, AdapterError and ModelError where
    the one it has does not fit.
    """
    cache = ExpertCache() if cache is None else cache
    base = find_base(loaded.called or loaded.id, loaded.revision)
    maker = _Maker(loaded, base, report, notice, cache)
    parts = blend.experts if blend else ()
    choices = [choose(part.persona, base, partial(maker.make, part.persona)) for part in parts]
    experts = []
    for part, choice in zip(parts, choices, strict=True):
        if choice.taken is None:
            prompt = check_prompt(choice, base, loaded.id)
            experts.append(Expert(part.persona.name, part.weight, prompt, persona_prompt=prompt))
        else:
            experts.append(replace(choice.taken.made, weight=part.weight))
    for text in notices(choices, base, loaded.id):
        notice(text)
    for place, weight in adapters:
        adapter = cache.get(place, partial(_at, place, loaded, base, report, notice))
        experts.append(Expert(place.name, weight, adapter=adapter))
    for expert in experts:
        if expert.adapter is not None and expert.adapter.notice is not None:
            notice(expert.adapter.notice)
    rank = {"prompt": 0, "adapter": 1, "both": 1, "checkpoint": 2}
    return tuple(sorted(experts, key=lambda expert: rank[expert.kind]))


@dataclass(frozen=True)
class _Maker:
    """Makes the expert of an entry, of weight 1."""

    loaded: LoadedModel
    base: Base
    report: Callable[[str], None]
    notice: Callable[[str], None]
    cache: ExpertCache

    def make(self, persona: Persona, match: Match) -> Expert:
        """Raises AdapterError and ModelError where it cannot be fetched, is damaged or does not fit."""
        name, prompt, entry = persona.name, persona.prompt, match.entry
        basis = f"{match.words}, {match.reason}" if match.reason else None
        expert = Expert(
            name, 1.0, prompt if persona.use == "both" else None, persona_prompt=prompt, basis=basis
        )
        if entry.checkpoint is not None:
            return replace(expert, checkpoint=self._checkpoint(entry, name))
        path = entry.resolved_path()
        if path is None:
            assert entry.repo is not None
            self.report(f"fetching adapter {entry.repo} for {name}")
            path = fetch_adapter(entry.repo, entry.revision, entry.subfolder, notice=self.notice)
        said = self.notice if match.reason is None else _silent  # the choice has a notice of its own
        check = partial(_checked, path, name, self.loaded, self.base, said)
        return replace(expert, adapter=self.cache.get((path, name), check))

    def _checkpoint(self, entry: AdapterEntry, name: str) -> Any:
        place = str(entry.resolved_path() or entry.checkpoint)

        def load() -> Any:
            self.report(f"loading checkpoint {entry.checkpoint} for {name}")
            expert = load_checkpoint(place, self.loaded, entry.revision)
            prepare_model(expert, compiled=self.loaded.compiled)
            return expert.model

        return self.cache.get((place, entry.revision), load)


def _silent(text: str) -> None:
    """Drop a notice."""


def _at(
    place: AdapterPlace,
    loaded: LoadedModel,
    base: Base,
    report: Callable[[str], None],
    notice: Callable[[str], None],
) -> Adapter:
    """The adapter of an `--adapter`, fetched if it is of the hub."""
    path = place.path
    if path is None:
        report(f"fetching adapter {place}")
        path = fetch_adapter(place.repo, place.revision, place.subfolder, notice=notice)
    return _checked(path, str(place), loaded, base, notice)


def _checked(
    path: Path, label: str, loaded: LoadedModel, base: Base, notice: Callable[[str], None]
) -> Adapter:
    """Shapes decide; another base name is worth a notice only (it is often a local path or a mirror)."""
    adapter = fit_adapter(read_adapter(path, label), loaded.model)
    made_for = adapter.base_name
    if made_for and not (base.has_name(made_for) or base.is_of_family(made_for)):
        said = visible(made_for, 80)
        notice(f"adapter {label} says it was made for {said}; it fits {loaded.id} by shape")
    return adapter
