"""Metrics of the replies of one method: persona presence, fluency, diversity, length. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from mpg_cli.evaluation import diversity
from mpg_cli.evaluation.bootstrap import Estimate, Values, difference, estimate, least_mean, mean_of_means
from mpg_cli.evaluation.prompts import EvalPrompt, Reply

SHOWN = 0.5  # least score at which a persona counts as shown
ORDERS = (1, 2, 3)  # of distinct n-grams


@dataclass(frozen=True)
class Metrics:
    """The replies of a method to the common prompts, and their scores.

    `scores[k][i]` is the score of persona i in reply k; empty rows without a judge. `cosines[name][k]` says
    how alike reply k and the text of this name on its line are, None if one is empty; {} if not measured.
    """

    method: str
    personas: tuple[str, ...]
    prompts: tuple[EvalPrompt, ...]
    replies: tuple[Reply, ...]
    scores: tuple[tuple[float, ...], ...]
    cosines: Mapping[str, Sequence[float | None]] = field(default_factory=dict, hash=False)

    @property
    def judged(self) -> bool:
        return bool(self.scores and self.scores[0])

    @cached_property
    def matrix(self) -> Values:
        """The scores (n, K)."""
        return np.array(self.scores, dtype=np.float64).reshape(len(self.replies), -1)

    @cached_property
    def presence(self) -> tuple[Estimate, ...]:
        """The mean score of each persona."""
        return tuple(estimate(column[:, None], mean_of_means) for column in self.matrix.T)

    @cached_property
    def least(self) -> Estimate | None:
        """The minimum presence over personas."""
        return estimate(self.matrix, least_mean) if self.judged else None

    @cached_property
    def mean(self) -> Estimate | None:
        """The mean presence over personas."""
        return estimate(self.matrix, mean_of_means) if self.judged else None

    @cached_property
    def together(self) -> Estimate | None:
        """The share of replies that show all personas at once."""
        return estimate(self._all, mean_of_means) if self.judged else None

    @cached_property
    def fluency(self) -> Estimate | None:
        """The mean over replies of nats per token; empty replies are left out."""
        values = [reply.fluency for reply in self.replies if reply.fluency is not None]
        return estimate(np.array(values)[:, None], mean_of_means) if values else None

    @property
    def _all(self) -> Values:
        return np.asarray((self.matrix >= SHOWN).all(axis=1, keepdims=True), dtype=np.float64)

    @cached_property
    def words(self) -> list[list[str]]:
        return [diversity.words(reply.text) for reply in self.replies]

    @cached_property
    def distinct(self) -> dict[int, float | None]:
        return {n: diversity.distinct(self.words, n) for n in ORDERS}

    @cached_property
    def self_bleu(self) -> float | None:
        return diversity.self_bleu(self.words)

    @cached_property
    def reference_bleu(self) -> float | None:
        """Mean BLEU-4 against the reference answers; None without references."""
        pairs = [(own, one.reference) for own, one in zip(self.words, self.prompts, strict=True)]
        scores = [diversity.bleu(own, [diversity.words(text)]) for own, text in pairs if text]
        return fmean(scores) if scores else None

    @cached_property
    def similarity(self) -> dict[str, Estimate]:
        """The mean cosine to each text of the lines."""
        known = {name: [own for own in every if own is not None] for name, every in self.cosines.items()}
        return {name: estimate(np.array(own)[:, None], mean_of_means) for name, own in known.items() if own}

    @property
    def length(self) -> float:
        """Mean tokens of a reply."""
        return fmean(len(reply.token_ids) for reply in self.replies)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all replies divided by the seconds of their batches, prefill included."""
        seconds = sum(reply.seconds for reply in self.replies)
        return sum(len(reply.token_ids) for reply in self.replies) / seconds if seconds > 0 else None

    def against(self, other: Metrics) -> Differences:
        """This method minus another one, prompt by prompt."""

        def of(statistic: Callable[[Values], Values]) -> Estimate:
            return difference(self.matrix, other.matrix, statistic)

        return Differences(
            other.method,
            of(least_mean),
            of(mean_of_means),
            difference(self._all, other._all, mean_of_means),
            _fluency(self, other),
        )

    def as_json(self) -> dict[str, Any]:
        def of(own: Estimate | None) -> dict[str, Any] | None:
            return None if own is None else own.as_json()

        presence = {
            name: own.as_json() for name, own in zip(self.personas, self.presence, strict=False)
        }  # empty without a judge
        return {
            "method": self.method,
            "presence": presence,
            "minimum": of(self.least),
            "mean": of(self.mean),
            "all_together": of(self.together),
            "fluency": of(self.fluency),
            "distinct": {str(n): value for n, value in self.distinct.items()},
            "self_bleu": self.self_bleu,
            "reference_bleu": self.reference_bleu,
            "similarity": {name: own.as_json() for name, own in self.similarity.items()},
            "length": self.length,
            "tokens_per_second": self.tokens_per_second,
        }


@dataclass(frozen=True)
class Differences:
    """One method minus another: paired bootstrap over prompts."""

    other: str
    least: Estimate
    mean: Estimate
    together: Estimate
    fluency: Estimate | None

    def as_json(self) -> dict[str, Any]:
        return {
            "other": self.other,
            "minimum": self.least.as_json(),
            "mean": self.mean.as_json(),
            "all_together": self.together.as_json(),
            "fluency": None if self.fluency is None else self.fluency.as_json(),
        }


def _fluency(ours: Metrics, theirs: Metrics) -> Estimate | None:
    """The difference over prompts where both replies are scored."""
    pairs = [
        (own.fluency, other.fluency)
        for own, other in zip(ours.replies, theirs.replies, strict=True)
        if own.fluency is not None and other.fluency is not None
    ]
    if not pairs:
        return None
    both = np.array(pairs)
    return difference(both[:, :1], both[:, 1:], mean_of_means)
