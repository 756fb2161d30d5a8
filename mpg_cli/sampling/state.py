"""Input of a round: the state of each sequence, with its own decoding parameters (`Decoding`)."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mpg_cli.errors import MpgError
from mpg_cli.sampling.chunk_size import Cost
from mpg_cli.sampling.noise import GumbelNoise, Gumbels, Noise
from mpg_cli.sampling.params import SamplingLaw, Scheme, Threshold
from mpg_cli.sampling.stats import FinishReason, Round, Stats

WARM_UP = 16  # scored chunks before the window yields a threshold above 0


@dataclass(frozen=True)
class Decoding:
    """Decoding parameters of a sequence: the requested ones, and those of its blend.

    `weights` are those of rows 1..K of the scorer. The scheme's drafter is not used here; a chunk size of
    None is adaptive, by the cost model `cost` of the blend.
    """

    sampling: SamplingLaw
    scheme: Scheme
    weights: tuple[float, ...]
    end_tokens: frozenset[int] = frozenset()
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        if self.scheme.rule == "threshold" and self.scheme.chunk_size is None:
            raise ValueError("rule threshold needs a fixed chunk size")
        if self.scheme != self.scheme.effective:
            raise ValueError(f"candidates and ahead belong to rule threshold, not to {self.scheme.rule}")

    @cached_property
    def alike(self) -> tuple[Hashable, ...]:
        """Sequences with equal values are verified together, each with its own weights and end tokens."""
        sampling = replace(self.sampling, max_tokens=None, stop=(), stop_token_ids=())
        scheme = replace(self.scheme, drafter="none")
        rule = scheme if scheme.rule == "threshold" else (scheme.rule, scheme.target)
        return len(self.weights), sampling, rule

    @property
    def candidates(self) -> int:
        """N."""
        return self.scheme.threshold.candidates

    @cached_property
    def draft_sampling(self) -> SamplingLaw:
        """The drafter's. Under `threshold` q is not truncated: a token masked in q can never be sampled."""
        return self.sampling.untruncated() if self.scheme.rule == "threshold" else self.sampling

    @cached_property
    def noise(self) -> GumbelNoise:
        return GumbelNoise(self.sampling.greedy)

    def until_end(self, tokens: Sequence[int], room: int) -> list[int]:
        """`tokens` up to and including the first end token, and at most `room` of them."""
        for i, token in enumerate(tokens[:room]):
            if token in self.end_tokens:
                return list(tokens[: i + 1])
        return list(tokens[:room])


@dataclass
class Window:
    """The log-ratios of the last scored chunks of one sequence, accepted or not (rule `threshold`).

    a_l is the log-ratio of a chunk after l tokens, m_l its threshold. Sequences of a batch never share a
    window.
    """

    threshold: Threshold
    chunks: deque[tuple[float, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = deque(maxlen=self.threshold.window)

    def thresholds(self, size: int) -> tuple[float, ...]:
        """m_1 .. m_size: m_l = max(0, m_{l-1}, quantile of a_l); 0 until WARM_UP chunks were scored."""
        if self.threshold.fixed is not None:
            return (self.threshold.fixed,) * size
        m, running = [], 0.0
        for i in range(size):
            known = sorted(chunk[i] for chunk in self.chunks if len(chunk) > i)
            if len(known) >= min(WARM_UP, self.threshold.window):
                running = max(running, known[math.ceil(self.threshold.quantile * (len(known) - 1))])
            m.append(running)
        return tuple(m)

    def add(self, chunks: Iterable[Sequence[float]]) -> None:
        """Add scored chunks, after verifying them: their own thresholds must not depend on them."""
        self.chunks.extend(tuple(a) for a in chunks)


@dataclass
class SequenceState:
    """State of one sequence between rounds.

    `prompt` is that of the reference row, for penalties; `tokens` is the reply so far, end token included.
    `failure` is the error that ended it.
    """

    noise: Noise
    decoding: Decoding
    limit: int
    prompt: Sequence[int] = ()
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stats: Stats = field(default_factory=Stats)
    failure: MpgError | None = None
    window: Window | None = field(init=False, default=None)  # of the threshold rule
    gumbels: Gumbels = field(init=False)  # of the exact rule
    counts: Counter[int] = field(init=False)  # of the tokens; those of the prompt alone have 0
    _before: Stats = field(init=False, default_factory=Stats)  # up to the last round

    def __post_init__(self) -> None:
        self.gumbels = Gumbels(self.noise, self.limit)
        self.counts = Counter(dict.fromkeys(self.prompt, 0))
        self.counts.update(self.tokens)
        if self.decoding.scheme.rule == "threshold":
            self.window = Window(self.decoding.scheme.threshold)

    @property
    def running(self) -> bool:
        """Whether further rounds follow."""
        return self.finish_reason is None and self.failure is None

    @property
    def sequence(self) -> int | str:
        return self.noise.sequence

    @property
    def room(self) -> int:
        """Tokens left before the limit."""
        return self.limit - len(self.tokens)

    def append(self, tokens: Sequence[int]) -> None:
        """Append committed tokens."""
        self.tokens += tokens
        self.counts.update(tokens)
        self.gumbels.drop(len(self.tokens))

    def count(self, round_: Round) -> Round:
        """Add a round to the statistics; returns the round with them."""
        self._before = self.stats
        return self._counted(round_)

    def end(self, last: Round, reason: FinishReason, used: int) -> Round:
        """Finish in the last round with only its first `used` tokens (stop string, interrupt).

        Returns the round cut to them.
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
