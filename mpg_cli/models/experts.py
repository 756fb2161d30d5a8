"""Which expert each persona becomes on the model at hand: adapter, checkpoint, prompt, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mpg_cli.errors import PersonaError
from mpg_cli.events import ExpertInfo, ExpertKind
from mpg_cli.models.adapter import Adapter, fit_adapter, read_adapter
from mpg_cli.models.compiling import is_compiled
from mpg_cli.models.loader import LoadedModel, fetch_adapter, load_checkpoint
from mpg_cli.models.served import make_ready
from mpg_cli.models.shelf import Shelf
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.matching import matching_entry, model_names
from mpg_cli.personas.registry import Blend
from mpg_cli.personas.schema import Persona
from mpg_cli.personas.text import visible


@dataclass(frozen=True)
class Expert:
    """One row beside the reference: a system prompt, an adapter, both, or another model's weights.

    `prompt` is what the row hears, `persona_prompt` what the persona has for models without its adapter.
    """

    name: str
    weight: float
    prompt: str | None = None
    adapter: Adapter | None = None
    checkpoint: Any = None
    persona_prompt: str | None = None

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
    shelf: Shelf | None = None,
) -> tuple[Expert, ...]:
    """The experts of a blend and of `--adapter`, in the order of their rows.

    That order is: prompts first, then adapters, then checkpoints, so that stacked rows are contiguous.
    `report` is told what takes time, `notice` what the user should know; `shelf` keeps what was read.
    Raises PersonaError where a persona has no expert for this model, AdapterError and ModelError where
    the one it has does not fit.
    """
    shelf = Shelf() if shelf is None else shelf
    experts = [
        _expert(part.persona, part.weight, loaded, report, notice, shelf)
        for part in (blend.experts if blend else ())
    ]
    fallen_back = [
        part.persona.name
        for part, expert in zip(blend.experts if blend else (), experts, strict=True)
        if part.persona.adapters and expert.kind == "prompt" and part.persona.use == "auto"
    ]
    if fallen_back:
        notice(f"no adapter for {loaded.id}, so the system prompt is the expert: {', '.join(fallen_back)}")
    for place, weight in adapters:
        adapter = shelf.get(place, partial(_at, place, loaded, report, notice))
        experts.append(Expert(place.name, weight, adapter=adapter))
    rank = {"prompt": 0, "adapter": 1, "both": 1, "checkpoint": 2}
    return tuple(sorted(experts, key=lambda expert: rank[expert.kind]))


def _expert(
    persona: Persona,
    weight: float,
    loaded: LoadedModel,
    report: Callable[[str], None],
    notice: Callable[[str], None],
    shelf: Shelf,
) -> Expert:
    name, prompt = persona.name, persona.prompt
    entry = matching_entry(persona, _names(loaded)) if persona.use != "prompt" else None
    if entry is None:
        if persona.use in ("adapter", "both"):
            bases = ", ".join(dict.fromkeys(e.base for e in persona.adapters)) or "no model"
            raise PersonaError(
                f"{persona.where}: {name} asks for an adapter and has one for {bases}, not for {loaded.id}",
                hint="choose another --model, or `use: auto` to fall back on the prompt",
            )
        if not prompt:
            raise PersonaError(
                f"{persona.where}: {name} has neither a prompt nor an adapter for {loaded.id}",
                hint="add a `prompt:` to the persona, or an `adapters:` entry with that base",
            )
        return Expert(name, weight, prompt=prompt, persona_prompt=prompt)
    heard = prompt if persona.use == "both" else None
    if entry.checkpoint is not None:
        place = str(entry.resolved_path() or entry.checkpoint)

        def load() -> Any:
            report(f"loading checkpoint {entry.checkpoint} for {name}")
            expert = load_checkpoint(place, loaded, entry.revision)
            make_ready(expert, compiled=is_compiled(loaded.model))
            return expert.model

        checkpoint = shelf.get((place, entry.revision), load)
        return Expert(name, weight, heard, checkpoint=checkpoint, persona_prompt=prompt)
    path = entry.resolved_path()
    if path is None:
        assert entry.repo is not None
        report(f"fetching adapter {entry.repo} for {name}")
        path = fetch_adapter(entry.repo, entry.revision, entry.subfolder)
    adapter = _fitting(path, name, loaded, notice, shelf)
    return Expert(name, weight, heard, adapter=adapter, persona_prompt=prompt)


def _names(loaded: LoadedModel) -> frozenset[str]:
    """What a `base` may call the loaded model."""
    return model_names(loaded.id, getattr(loaded.config, "_name_or_path", None))


def _at(
    place: AdapterPlace, loaded: LoadedModel, report: Callable[[str], None], notice: Callable[[str], None]
) -> Adapter:
    """The adapter of an `--adapter`, fetched if it is of the hub."""
    path = place.path
    if path is None:
        report(f"fetching adapter {place}")
        path = fetch_adapter(place.repo, place.revision, place.subfolder, notice=notice)
    return _checked(path, str(place), loaded, notice)


def _fitting(
    path: Path, label: str, loaded: LoadedModel, notice: Callable[[str], None], shelf: Shelf
) -> Adapter:
    """An adapter that fits the model, from the shelf if it is there."""
    return shelf.get((path, label), lambda: _checked(path, label, loaded, notice))


def _checked(path: Path, label: str, loaded: LoadedModel, notice: Callable[[str], None]) -> Adapter:
    """Shapes decide; another name is only worth a notice (it is often a local path or a mirror)."""
    adapter = fit_adapter(read_adapter(path, label), loaded.model)
    made_for = Path(adapter.base_name or "").name
    if made_for and made_for.lower() not in {Path(name).name.lower() for name in _names(loaded)}:
        said = visible(str(adapter.base_name), 80)
        notice(f"adapter {label} says it was made for {said}; it fits {loaded.id} by shape")
    return adapter
