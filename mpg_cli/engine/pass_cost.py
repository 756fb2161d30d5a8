"""What a pass costs: a model of its time by device, dtype, size of the model and number of tokens.

A pass has a fixed cost for each layer, reads all weights once, and multiplies every token with all of them:
seconds = layers * LAYER + weights * READ + tokens * weights * MULTIPLY. `python -m benchmarks.pass_cost`
finds the constants again. Only ratios of these times matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.sampling.chunk_size import Cost


@dataclass(frozen=True)
class Constants:
    """Seconds: of a layer in any pass; to read a billion weights; to multiply a token with these."""

    layer: float
    read: float
    multiply: float


CONSTANTS = {
    ("cpu", torch.float32): Constants(layer=0.4e-3, read=0.20, multiply=0.030),
    ("cpu", torch.bfloat16): Constants(layer=0.4e-3, read=0.10, multiply=0.012),
    ("cuda", torch.bfloat16): Constants(layer=0.10e-3, read=0.0006, multiply=0.00001),
}


def round_cost(blends: Sequence[BlendRows]) -> Cost:
    """The cost of a round of sequences of these blends together, in seconds."""
    scored: dict[int, tuple[Any, int]] = {}
    drafting: dict[int, tuple[Any, int]] = {}
    for rows in blends:
        for model, count in rows.scored:
            scored[id(model)] = model, scored.get(id(model), (model, 0))[1] + count
        if rows.draft.steps:
            draft, N = rows.draft.model, rows.scheme.threshold.candidates
            drafting[id(draft)] = draft, drafting.get(id(draft), (draft, 0))[1] + N
    score = position = step = 0.0
    for model, count in scored.values():
        fixed, token = _of_model(model)
        score += fixed + token * count
        position += token * count
    for model, count in drafting.values():
        fixed, token = _of_model(model)
        step += fixed + token * count
    return Cost(step, score, position)


def _of_model(model: Any) -> tuple[float, float]:
    """Seconds of a pass, and of each of its tokens."""
    found: tuple[float, float] | None = getattr(model, "_mpg_pass_cost", None)
    if found is None:
        kind = CONSTANTS.get((model.device.type, model.dtype))
        if kind is None:
            kind = CONSTANTS["cuda" if model.device.type == "cuda" else "cpu", torch.bfloat16]
        config = model.config.get_text_config()
        head = model.get_output_embeddings().weight.numel()
        weights = sum(p.numel() for p in model.parameters()) / 1e9
        tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        weights -= 0 if tied else head / 1e9  # of an embedding a pass reads single rows
        fixed = config.num_hidden_layers * kind.layer + weights * kind.read
        found = model._mpg_pass_cost = fixed, weights * kind.multiply
    return found
