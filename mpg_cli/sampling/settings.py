"""What a sampler samples, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mpg_cli.sampling.pace import Cost
from mpg_cli.sampling.params import Threshold
from mpg_cli.sampling.penalties import Penalties
from mpg_cli.sampling.rules import Rule
from mpg_cli.sampling.targets import Target
from mpg_cli.sampling.warpers import Warp


@dataclass(frozen=True)
class Settings:
    """What is sampled and how; `weights` belong to the rows 1..K of the engine.

    With `cost` each reply finds its own chunk size by its acceptance instead.
    """

    weights: tuple[float, ...]
    target: Target = "product"
    rule: Rule = "exact"
    chunk_size: int = 4
    cost: Cost | None = None
    penalties: Penalties = field(default_factory=Penalties)
    warp: Warp = field(default_factory=Warp)
    threshold: Threshold = field(default_factory=Threshold)
    end_tokens: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.rule != "threshold" and (self.threshold.candidates, self.threshold.ahead) != (1, 1):
            raise ValueError(f"candidates and chunks ahead belong to rule threshold, not to {self.rule}")
        if self.rule == "threshold" and self.cost is not None:
            raise ValueError("thresholds belong to chunks of one size")

    def until_end(self, tokens: Sequence[int], room: int) -> list[int]:
        """`tokens` up to and including the first end token, and at most `room` of them."""
        for place, token in enumerate(tokens[:room]):
            if token in self.end_tokens:
                return list(tokens[: place + 1])
        return list(tokens[:room])
