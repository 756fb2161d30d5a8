"""Run a questionnaire on blends: one load, and one set of passes over all experts for all blends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpg_cli.evaluation.questionnaire import DIMENSIONS, Item, Readout, counts
from mpg_cli.evaluation.scores import Score, Sheet, answer, sheet, shift
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.registry import Blend
from mpg_cli.sampling.params import TargetName

BASE = "base"


@dataclass(frozen=True)
class Quiz:
    """The blends (None where only `adapters` are blended), the items, and how questions are prompted."""

    blends: tuple[Blend | None, ...]
    names: tuple[str, ...]  # of the blends
    items: tuple[Item, ...]
    model: ModelOptions
    adapters: tuple[tuple[AdapterPlace, float], ...] = ()  # in every blend
    target: TargetName = "product"
    readout: Readout = "text"
    how: Prompting | None = None  # system text, raw, template arguments; its prompt is ignored


@dataclass(frozen=True)
class Findings:
    """The sheet of the base and of each blend."""

    model: str
    revision: str | None
    target: str
    readout: str
    items: tuple[Item, ...]
    base: Sheet
    sheets: tuple[Sheet, ...]

    def shift(self, blend: Sheet) -> tuple[Score, ...]:
        """How far a blend moved from the base."""
        return shift(self.items, blend, self.base)

    def as_json(self) -> dict[str, Any]:
        """The object of `--format json`."""
        return {
            "model": self.model,
            "revision": self.revision,
            "target": self.target,
            "readout": self.readout,
            "items": counts(self.items),
            "base": _sheet_json(self.base),
            "blends": [
                {**_sheet_json(own), "shift": [score.as_json() for score in self.shift(own)]}
                for own in self.sheets
            ],
        }


def _sheet_json(own: Sheet) -> dict[str, Any]:
    return {
        "persona": own.persona,
        "type": own.type,
        "scores": [score.as_json() for score in own.scores],
        "answers": list(own.answers),
    }


def types() -> tuple[str, ...]:
    """The sixteen types, ESTJ to INFP."""
    found = [""]
    for dimension in DIMENSIONS:
        found = [before + pole for before in found for pole in dimension]
    return tuple(found)


def run(
    quiz: Quiz,
    load: Callable[[str], None] = lambda message: None,
    notice: Callable[[str], None] = lambda message: None,
    report: Callable[[float], None] = lambda share: None,
) -> Findings:
    """Load the model and score the items. `load` gets status texts, `report` the share of questions done.

    Raises ModelError, AdapterError, PersonaError, ContextError.
    """
    from mpg_cli.evaluation.scoring import option_scores  # torch loads here
    from mpg_cli.models.experts import find_experts
    from mpg_cli.models.prepare import load_prepared

    loaded = load_prepared(quiz.model, load)
    for text in loaded.notices:
        notice(text)
    experts = find_experts(_union(quiz.blends), quiz.adapters, loaded, load, notice)
    weights = [_weights(blend, experts, quiz) for blend in quiz.blends]
    load("")
    found = option_scores(
        loaded,
        experts,
        [None, *weights],
        quiz.items,
        target=quiz.target,
        readout=quiz.readout,
        how=quiz.how,
        report=report,
    )
    sheets = [
        sheet(name, quiz.items, [answer(item, scores) for item, scores in zip(quiz.items, own, strict=True)])
        for name, own in zip((BASE, *quiz.names), found, strict=True)
    ]
    return Findings(
        loaded.id, loaded.revision, quiz.target, quiz.readout, quiz.items, sheets[0], tuple(sheets[1:])
    )


def _union(blends: Sequence[Blend | None]) -> Blend | None:
    """All experts of the blends, each once; a single blend unchanged."""
    named = [blend for blend in blends if blend is not None]
    if len(named) < 2:
        return named[0] if named else None
    every = [replace(expert, weight=1.0) for blend in named for expert in blend.experts]
    experts = {expert.persona.name: expert for expert in every}
    return Blend("+".join(experts), tuple(experts.values()))


def _weights(blend: Blend | None, experts: Sequence[Any], quiz: Quiz) -> list[float]:
    """The weight of each expert in this blend; 0 for experts of other blends."""
    if len(quiz.blends) < 2 or blend is None:
        return [expert.weight for expert in experts]
    own = {expert.persona.name: expert.weight for expert in blend.experts}
    return [own.get(expert.name, 0.0) for expert in experts]
