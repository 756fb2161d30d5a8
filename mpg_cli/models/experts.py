"""The expert of each persona on the loaded model: adapter, checkpoint, prompt, or prompt with an adapter; and
the drafting model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mpg_cli.errors import caused_by
from mpg_cli.io.text import visible
from mpg_cli.models.load.adapter import Adapter, read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.load.loader import LoadedModel, load_checkpoint, load_drafter
from mpg_cli.models.load.sources import fetch_adapter
from mpg_cli.models.prepare import prepare_model
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.base import Base, find_base
from mpg_cli.personas.choice import ExpertInfo, check_prompt, choose, notices
from mpg_cli.personas.matching import ExpertKind, Match
from mpg_cli.personas.registry import Blend
from mpg_cli.personas.schema import AdapterEntry, Persona
from mpg_cli.sampling.params import Scheme

T = TypeVar("T")


class ExpertCache:
    """LRU cache of adapters and checkpoints by source, at most `most` of them (None: no limit).

    It also holds drafting models, which do not give way.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._drafters: dict[str, LoadedModel] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """The expert under the key, loaded if it is missing."""
        if key in self._items:
            self._items.move_to_end(key)
            found: T = self._items[key]
            return found
        item = self._items[key] = load()
        while self._most is not None and len(self._items) > self._most:
            self._items.popitem(last=False)
        return item

    def drafter(self, place: str, load: Callable[[], LoadedModel]) -> LoadedModel:
        """The drafting model of this name, loaded if it is missing."""
        if place not in self._drafters:
            self._drafters[place] = load()
        return self._drafters[place]


@dataclass(frozen=True)
class Expert:
    """One row besides the reference: a system prompt, an adapter, both, or the weights of another model.

    `prompt` is the system prompt of the row, `persona_prompt` that of the persona, used on models for which
    it has no adapter. `basis` is the reason for using an adapter that names another base.
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

    That order is prompts, adapters, checkpoints, so that stacked rows are contiguous. `report` gets progress
    messages, `notice` messages for the user; `cache` holds loaded experts.
    Raises PersonaError where a persona has no expert for this model, AdapterError and ModelError where
    its expert does not fit.
    """
    cache = ExpertCache() if cache is None else cache
    base = find_base(loaded.given_name or loaded.id, loaded.revision)
    loader = _Loader(loaded, base, report, notice, cache)
    parts = blend.experts if blend else ()
    choices = [choose(part.persona, base, partial(loader.load, part.persona)) for part in parts]
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
        adapter = cache.get(place, partial(_given_adapter, place, loaded, base, report, notice))
        experts.append(Expert(place.name, weight, adapter=adapter))
    for expert in experts:
        if expert.adapter is not None and expert.adapter.notice is not None:
            notice(expert.adapter.notice)
    rank = {"prompt": 0, "adapter": 1, "both": 1, "checkpoint": 2}
    return tuple(sorted(experts, key=lambda expert: rank[expert.kind]))


@caused_by("--drafter")
def find_drafter(
    scheme: Scheme, loaded: LoadedModel, report: Callable[[str], None], cache: ExpertCache
) -> LoadedModel | None:
    """The drafting model, where the scheme names one. Raises ModelError where it does not fit."""
    kind, _, place = scheme.drafter.partition(":")
    if kind != "model" or scheme.chunk_size == 0:
        return None

    def load() -> LoadedModel:
        report(f"loading drafter {place}")
        return prepare_model(load_drafter(place, loaded, report=report), compiled=loaded.compiled)

    return cache.drafter(place, load)


@dataclass(frozen=True)
class _Loader:
    """Loads the expert of an entry of a persona, with weight 1."""

    loaded: LoadedModel
    base: Base
    report: Callable[[str], None]
    notice: Callable[[str], None]
    cache: ExpertCache

    def load(self, persona: Persona, match: Match) -> Expert:
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
        notice = self.notice if match.reason is None else _no_notice  # the choice has its own notice
        check = partial(_fitted, path, name, self.loaded, self.base, notice)
        return replace(expert, adapter=self.cache.get((path, name), check))

    def _checkpoint(self, entry: AdapterEntry, name: str) -> Any:
        source = str(entry.resolved_path() or entry.checkpoint)

        def load() -> Any:
            self.report(f"loading checkpoint {entry.checkpoint} for {name}")
            expert = load_checkpoint(source, self.loaded, entry.revision, report=self.report)
            prepare_model(expert, compiled=self.loaded.compiled)
            return expert.model

        return self.cache.get((source, entry.revision), load)


def _no_notice(text: str) -> None:
    """Drop a notice."""


@caused_by("--adapter")
def _given_adapter(
    place: AdapterPlace,
    loaded: LoadedModel,
    base: Base,
    report: Callable[[str], None],
    notice: Callable[[str], None],
) -> Adapter:
    """The adapter of `--adapter`, fetched if it is on the hub."""
    path = place.path
    if path is None:
        report(f"fetching adapter {place}")
        path = fetch_adapter(place.repo, place.revision, place.subfolder, notice=notice)
    return _fitted(path, str(place), loaded, base, notice)


def _fitted(
    path: Path, label: str, loaded: LoadedModel, base: Base, notice: Callable[[str], None]
) -> Adapter:
    """The adapter, checked by shape. Another base name, often a path or a mirror, gives a notice only."""
    adapter = fit_adapter(read_adapter(path, label), loaded.model)
    made_for = adapter.base_name
    if made_for and not (base.has_name(made_for) or base.is_of_family(made_for)):
        named = visible(made_for, 80)
        notice(f"adapter {label} names {named} as its base; it fits {loaded.id} by shape")
    return adapter
