"""A reply under way, as the sampler carries it from round to round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.pace import Pace
from mpg_cli.sampling.round import FinishReason
from mpg_cli.sampling.thresholds import Window


@dataclass
class Reply:
    """One sequence under way: its noise, the reference row's prompt, its tokens so far (an end token
    included), its window.
    """

    noise: Noise
    limit: int
    prompt: Sequence[int] = ()
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    window: Window | None = None
    pace: Pace | None = None
    gumbels: dict[int, Tensor] = field(default_factory=dict)  # by reply position, for reuse
    counts: Counter[int] = field(default_factory=Counter)  # of the tokens; those of the prompt alone have 0

    def __post_init__(self) -> None:
        self.counts = Counter(dict.fromkeys(self.prompt, 0))
        self.counts.update(self.tokens)

    def append(self, tokens: Sequence[int]) -> None:
        """Tokens that were committed."""
        self.tokens += tokens
        self.counts.update(tokens)

    @property
    def sequence(self) -> int | str:
        return self.noise.sequence
