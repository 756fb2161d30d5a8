"""What a round works on: how to decode (`Decoding`), and each sequence so far (`SequenceState`)."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mpg_cli.sampling.noise import GumbelNoise, Gumbels, Noise
from mpg_cli.sampling.params import Sampling, Scheme, Threshold
from mpg_cli.sampling.stats import FinishReason, Round, Stats

WARM_UP = 16  # chunks before the window counts


@dataclass(frozen=True)
class Decoding:
    """How the sequences of a batch are decoded: what was asked for, and what the loaded blend adds to it.

    `weights` belong to the rows 1..K of the scorer. Of the scheme, target, rule, chunk size and threshold are
    read; without a chunk size it follows the acceptance.
    """

    sampling: Sampling
    scheme: Scheme
    weights: tuple[float, ...]
    end_tokens: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        rule, how = self.scheme.rule, self.scheme.threshold
        if rule != "threshold" and (how.candidates, how.ahead) != (1, 1):
            raise ValueError(f"candidates and chunks ahead belong to rule threshold, not to {rule}")
        if rule == "threshold" and self.scheme.chunk_size is None:
            raise ValueError("thresholds belong to chunks of one size")

    @cached_property
    def draft_sampling(self) -> Sampling:
        """The drafter's. Under `threshold` q is not truncated: the target loses for good what q masks."""
        return self.sampling.untruncated() if self.scheme.rule == "threshold" else self.sampling

    @cached_property
    def noise(self) -> GumbelNoise:
        return GumbelNoise(self.sampling.greedy)

    def until_end(self, tokens: Sequence[int], room: int) -> list[int]:
        """`tokens` up to and including the first end token, and at most `room` of them."""
        for place, token in enumerate(tokens[:room]):
            if token in self.end_tokens:
                return list(tokens[: place + 1])
        return list(tokens[:room])


@dataclass
class Window:
    """The log-ratios of the last scored chunks of one sequence, accepted or not (rule `threshold`).

    a_l is the log-ratio of a chunk after l tokens, m_l the threshold that it is tested against. A window is
    never shared over a batch.
    """

    how: Threshold
    chunks: deque[tuple[float, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = deque(maxlen=self.how.window)

    def thresholds(self, size: int) -> tuple[float, ...]:
        """m_1 .. m_size: m_l = max(0, m_{l-1}, quantile of a_l); 0 until WARM_UP chunks were scored."""
        if self.how.fixed is not None:
            return (self.how.fixed,) * size
        m, running = [], 0.0
        for place in range(size):
            known = sorted(chunk[place] for chunk in self.chunks if len(chunk) > place)
            if len(known) >= min(WARM_UP, self.how.window):
                running = max(running, known[math.ceil(self.how.quantile * (len(known) - 1))])
            m.append(running)
        return tuple(m)

    def add(self, chunks: Iterable[Sequence[float]]) -> None:
        """Remember scored chunks; call after verifying them, so that thresholds never depend on them."""
        self.chunks.extend(tuple(a) for a in chunks)


@dataclass
class SequenceState:
    """One sequence from round to round.

    `prompt` is the reference row's, for penalties; `tokens` are the reply so far, an end token included.
    """

    noise: Noise
    limit: int
    prompt: Sequence[int] = ()
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stats: Stats = field(default_factory=Stats)
    window: Window | None = None  # of the threshold rule
    gumbels: Gumbels = field(init=False)  # of the exact rule
    counts: Counter[int] = field(init=False)  # of the tokens; those of the prompt alone have 0
    _before: Stats = field(init=False, default_factory=Stats)  # the last round

    def __post_init__(self) -> None:
        self.gumbels = Gumbels(self.noise, self.limit)
        self.counts = Counter(dict.fromkeys(self.prompt, 0))
        self.counts.update(self.tokens)

    @property
    def sequence(self) -> int | str:
        return self.noise.sequence

    @property
    def room(self) -> int:
        """Tokens that may still follow."""
        return self.limit - len(self.tokens)

    def append(self, tokens: Sequence[int]) -> None:
        """Tokens that were committed."""
        self.tokens += tokens
        self.counts.update(tokens)
        self.gumbels.drop(len(self.tokens))

    def count(self, round_: Round) -> Round:
        """Add a round to the statistics; the round with these."""
        self._before = self.stats
        return self._counted(round_)

    def end(self, last: Round, reason: FinishReason, used: int) -> Round:
        """Finish with the last round, of whose tokens the first `used` count: a stop string, an interrupt.

        The round as it then is.
        """
        self.finish_reason = reason
        return self._counted(
            replace(
                last,
                tokens=last.tokens[:used],
                contributions=last.contributions[:used],
                accepted=min(last.accepted, used),
                finish_reason=reason,
            )
        )

    def _counted(self, round_: Round) -> Round:
        self.stats = self._before + Stats.of(round_)
        return replace(round_, stats=self.stats)
