"""What a round costs: a model of its time by device, dtype, size of the model and number of tokens.

A round has a fixed cost, and one for each token that is drawn. A pass has a cost for each layer, more in
layers with adapters, and for each row of a layer; it reads all weights once, multiplies every token with
them, and gives each a logit of every entry of the vocabulary. The cost of a round is linear in these numbers
(`Load`). `python -m benchmarks.pass_constants` finds the constants again. Only ratios of these times matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.sampling.chunk_size import Cost


class Load(NamedTuple):
    """What a round does, summed up: rounds, drawn tokens, layers of passes, those of them with adapters, rows
    of layers, and, in billions, weights read, weights multiplied with a token, and logits.
    """

    rounds: float = 0.0
    draws: float = 0.0
    layers: float = 0.0
    adapted: float = 0.0
    rows: float = 0.0
    read: float = 0.0
    multiplied: float = 0.0
    logits: float = 0.0

    def plus(self, other: Load, times: float = 1.0) -> Load:
        """The sum with so many of another."""
        return Load(*(a + times * b for a, b in zip(self, other, strict=True)))

    def seconds(self, kind: Constants) -> float:
        """The time that it takes."""
        return sum(own * each for own, each in zip(self, kind, strict=True))


class Constants(NamedTuple):
    """Seconds of each of the numbers in `Load`."""

    rounds: float
    draws: float
    layers: float
    adapted: float
    rows: float
    read: float
    multiplied: float
    logits: float


# float32: two threads of an AMD EPYC. bfloat16: the same, for half of the bytes and products 2.5 times as
# fast. On CUDA they are estimates.
CONSTANTS = {
    ("cpu", torch.float32): Constants(2.4e-3, 0.15e-3, 1.3e-3, 0.84e-3, 0.021e-3, 0.27, 0.0172, 4.2),
    ("cpu", torch.bfloat16): Constants(2.4e-3, 0.15e-3, 1.3e-3, 0.84e-3, 0.021e-3, 0.14, 0.0069, 4.2),
    ("cuda", torch.bfloat16): Constants(1e-3, 0.02e-3, 0.1e-3, 0.1e-3, 0.0, 0.0006, 0.00001, 0.01),
}


class RoundLoad(NamedTuple):
    """The load of a round: of its score pass without drafts, of a step of the drafters, and of the position
    that each drafted token adds to the score pass.
    """

    score: Load
    step: Load
    position: Load


def round_load(blends: Iterable[BlendRows]) -> RoundLoad:
    """The load of a round of sequences of these blends together."""
    scored, drafting, draws = _Passes(), _Passes(), 0
    for rows, count in Counter(blends).items():
        adapted = any(expert.adapter is not None for expert in rows.experts)
        for model, of_model in rows.scored:
            scored.add(model, count * of_model, adapted and model is rows.loaded.model)
        N = count * rows.scheme.threshold.candidates
        draws += N
        if rows.draft.steps:
            drafting.add(rows.draft.model, N, bool(rows.draft.adapters))
    position = scored.tokens().plus(Load(draws=draws))
    step = drafting.fixed().plus(drafting.tokens()).plus(Load(draws=sum(drafting.rows.values())))
    return RoundLoad(Load(rounds=1).plus(scored.fixed()).plus(position), step, position)


def round_cost(blends: Sequence[BlendRows]) -> Cost:
    """The cost of a round of sequences of these blends together, in seconds."""
    load, model = round_load(blends), blends[0].loaded.model
    kind = CONSTANTS.get((model.device.type, model.dtype))
    if kind is None:
        kind = CONSTANTS["cuda" if model.device.type == "cuda" else "cpu", torch.bfloat16]
    return Cost(*(own.seconds(kind) for own in (load.step, load.score, load.position)))


class _Passes:
    """A pass over `rows` of each of some models."""

    def __init__(self) -> None:
        self._models: dict[int, Any] = {}
        self.rows: dict[int, int] = {}
        self._adapted: set[int] = set()

    def add(self, model: Any, rows: int, adapted: bool) -> None:
        """Add rows to the pass of a model."""
        key = id(model)
        self._models[key], self.rows[key] = model, self.rows.get(key, 0) + rows
        if adapted:
            self._adapted.add(key)

    def fixed(self) -> Load:
        """What does not depend on the number of tokens."""
        total = Load()
        for key, model in self._models.items():
            size = _size_of(model)
            adapted = size.layers if key in self._adapted else 0
            rows = self.rows[key] * size.layers
            total = total.plus(Load(layers=size.layers, adapted=adapted, rows=rows, read=size.weights))
        return total

    def tokens(self) -> Load:
        """A token of each row."""
        total = Load()
        for key, model in self._models.items():
            size = _size_of(model)
            total = total.plus(Load(multiplied=size.weights, logits=size.logits), self.rows[key])
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
