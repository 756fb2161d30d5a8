"""What a round costs: a model of its time by device, dtype, size of the model and number of tokens.

A round has a fixed cost, and one for each token that is drawn. A pass has a cost for each layer, more in
layers with adapters; it reads all weights once, multiplies every token with all of them, and gives each a
logit of every entry of the vocabulary. The cost of a round is linear in these numbers (`Load`). `python -m
benchmarks.pass_constants` finds the constants again. Only ratios of these times matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.sampling.chunk_size import Cost


@dataclass(frozen=True)
class Load:
    """What a round does, summed up: rounds, drawn tokens, layers of passes, those of them with adapters, and,
    in billions, weights read, weights multiplied with a token, and logits.
    """

    rounds: float = 0.0
    draws: float = 0.0
    layers: float = 0.0
    adapted: float = 0.0
    read: float = 0.0
    multiplied: float = 0.0
    logits: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, count: float) -> Load:
        """So many of these."""
        return Load(*(count * own for own in astuple(self)))

    def seconds(self, kind: Constants) -> float:
        """The time that it takes."""
        return float(sum(own * each for own, each in zip(astuple(self), astuple(kind), strict=True)))


@dataclass(frozen=True)
class Constants:
    """Seconds of each of the numbers in `Load`."""

    rounds: float
    draws: float
    layers: float
    adapted: float
    read: float
    multiplied: float
    logits: float


# float32: two threads of an AMD EPYC. bfloat16: the same, for half of the bytes and products 2.5 times as
# fast. On CUDA they are estimates.
CONSTANTS = {
    ("cpu", torch.float32): Constants(1.78e-3, 0.27e-3, 0.87e-3, 0.48e-3, 0.32, 0.0169, 5.2),
    ("cpu", torch.bfloat16): Constants(1.78e-3, 0.27e-3, 0.87e-3, 0.48e-3, 0.16, 0.0068, 5.2),
    ("cuda", torch.bfloat16): Constants(1e-3, 0.02e-3, 0.10e-3, 0.10e-3, 0.0006, 0.00001, 0.01),
}


@dataclass(frozen=True)
class RoundLoad:
    """The load of a round: of its score pass without drafts, of a step of the drafters, and of the position
    that each drafted token adds to the score pass.
    """

    score: Load = Load()
    step: Load = Load()
    position: Load = Load()

    def of(self, gamma: int) -> Load:
        """With gamma drafted tokens."""
        return self.score + (self.step + self.position).times(gamma)


def round_load(blends: Sequence[BlendRows]) -> RoundLoad:
    """The load of a round of sequences of these blends together."""
    scored, drafting = _Passes(), _Passes()
    for rows in blends:
        adapted = any(expert.adapter is not None for expert in rows.experts)
        for model, count in rows.scored:
            scored.add(model, count, adapted and model is rows.loaded.model)
        if rows.draft.steps:
            drafting.add(rows.draft.model, rows.scheme.threshold.candidates, bool(rows.draft.adapters))
    position = scored.tokens()
    return RoundLoad(
        Load(rounds=1) + scored.fixed() + position, drafting.fixed() + drafting.tokens(), position
    )


def round_cost(blends: Sequence[BlendRows]) -> Cost:
    """The cost of a round of sequences of these blends together, in seconds."""
    load, model = round_load(blends), blends[0].loaded.model
    kind = CONSTANTS.get((model.device.type, model.dtype))
    if kind is None:
        kind = CONSTANTS["cuda" if model.device.type == "cuda" else "cpu", torch.bfloat16]
    return Cost(*(own.seconds(kind) for own in (load.step, load.score, load.position)))


class _Passes:
    """A pass over rows of each of some models."""

    def __init__(self) -> None:
        self._models: dict[int, Any] = {}
        self._rows: dict[int, int] = {}
        self._adapted: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._models)

    def add(self, model: Any, rows: int, adapted: bool) -> None:
        """Add rows to the pass of a model."""
        key = id(model)
        self._models[key], self._rows[key] = model, self._rows.get(key, 0) + rows
        if adapted:
            self._adapted.add(key)

    def fixed(self) -> Load:
        """What does not depend on the number of tokens."""
        total = Load()
        for key, model in self._models.items():
            size = _size_of(model)
            adapted = size.layers if key in self._adapted else 0
            total += Load(layers=size.layers, adapted=adapted, read=size.weights)
        return total

    def tokens(self) -> Load:
        """A token of each row."""
        total = Load()
        for key, model in self._models.items():
            size = _size_of(model)
            total += Load(multiplied=size.weights, logits=size.logits).times(self._rows[key])
        return total


@dataclass(frozen=True)
class _Size:
    """Layers of a model and, in billions, the weights that every token is multiplied with, and logits."""

    layers: int
    weights: float
    logits: float


def _size_of(model: Any) -> _Size:
    found: _Size | None = getattr(model, "_mpg_size", None)
    if found is None:
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        weights = sum(p.numel() for p in model.parameters())
        weights -= 0 if embedding is head else embedding.numel()  # of which a pass reads single rows
        layers = model.config.get_text_config().num_hidden_layers
        found = model._mpg_size = _Size(layers, weights / 1e9, len(head) / 1e9)
    return found
