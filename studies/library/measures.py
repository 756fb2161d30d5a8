"""The figures of the report: what judges find in replies, and how the replies read. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from mpg_cli.evaluation import diversity
from mpg_cli.evaluation.bootstrap import Estimate, Values, difference, estimate, mean_of_means
from mpg_cli.evaluation.classifier import TrainedJudge
from mpg_cli.evaluation.diversity import distinct, ngrams
from mpg_cli.evaluation.judging import Exhibit
from studies.library.blends import Sought
from studies.library.replies import Reply

LOOP_WORDS, LOOP_TIMES = 6, 3  # so many words in a row, so often: a loop
DISTINCT = 4  # words in a row

Verdict = Mapping[str, bool]  # by persona
Verdicts = Mapping[str, Verdict]  # by text


def verdicts(judge: TrainedJudge, texts: Sequence[str], personas: Sequence[str]) -> Verdicts:
    """Which of the personas the judge finds in each text."""
    found: dict[str, dict[str, bool]] = {text: {} for text in texts}
    exhibits = [Exhibit("", "", text, name) for text in found for name in personas]
    scores = judge.judge(exhibits, lambda judgement: None, lambda share: None)  # reads each text once
    for exhibit, score in zip(exhibits, scores, strict=True):
        found[exhibit.text][exhibit.persona] = score > 0
    return found


def by_prompt(replies: Sequence[Reply], values: Sequence[float]) -> Values:
    """The mean of each prompt's replies, (n, 1): prompts are what is resampled."""
    own: dict[str, list[float]] = {}
    for reply, value in zip(replies, values, strict=True):
        own.setdefault(reply.prompt, []).append(value)
    return np.array([[fmean(part)] for part in own.values()])


def shown(replies: Sequence[Reply], what: Sought, found: Verdicts) -> Estimate:
    """The share of replies that show all that a blend is made of."""
    return estimate(by_prompt(replies, [what.shown(found[r.text]) for r in replies]), mean_of_means)


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return [word for word in diversity.words(text) if word[0].isalnum()]


def loops(text: str) -> bool:
    """Whether the same LOOP_WORDS words in a row occur LOOP_TIMES times."""
    grams = ngrams(words(text), LOOP_WORDS)
    return any(grams.count(gram) >= LOOP_TIMES for gram in set(grams))


@dataclass(frozen=True)
class Reading:
    """How the replies of a blend read beside the base's to the same prompts.

    `fluency` is the difference of the mean log p under the base, in nats a token; empty replies are left out.
    """

    loops: float
    distinct: float  # relative to the base's
    fluency: Estimate
    words: float  # per reply
    finished: float
    empty: int


def reading(replies: Sequence[Reply], base: Sequence[Reply]) -> Reading:
    """The replies of a blend against the base's at the same places."""
    own, theirs = ([words(reply.text) for reply in part] for part in (replies, base))
    both = [
        pair for pair in zip(replies, base, strict=True) if None not in (pair[0].fluency, pair[1].fluency)
    ]
    values = [by_prompt(part, [reply.fluency or 0.0 for reply in part]) for part in zip(*both, strict=True)]
    return Reading(
        fmean(loops(reply.text) for reply in replies),
        (distinct(own, DISTINCT) or 0.0) / (distinct(theirs, DISTINCT) or 1.0),
        difference(values[0], values[1], mean_of_means),
        fmean(map(len, own)),
        fmean(reply.finished for reply in replies),
        sum(reply.fluency is None for reply in replies),
    )
