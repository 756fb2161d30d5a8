"""The judges of `mpg train --library`: the classifiers of `mpg eval`, as its runs ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import TrainedJudge, WordFeatures
from mpg_cli.evaluation.judge_texts import library_texts
from mpg_cli.evaluation.judging import Exhibit
from mpg_cli.training.heard import Judge


@dataclass(frozen=True)
class LibraryJudge:
    """Whether replies show one persona of the library."""

    persona: str
    words: str
    _judge: TrainedJudge

    def __call__(self, replies: Sequence[str]) -> list[bool]:
        exhibits = [Exhibit(str(at), "", text, self.persona) for at, text in enumerate(replies)]
        scores = self._judge.judge(exhibits, lambda judgement: None, lambda done: None)
        return [score > 0 for score in scores]


def library_judges(names: Sequence[str]) -> Callable[[str], Judge | str]:
    """The judge of each of these personas, or why there is none; takes a second a persona."""
    try:
        judge = TrainedJudge(WordFeatures(), library_texts(names))
    except UsageError as error:
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        return lambda name: why
    accuracy = {own.persona: own.accuracy for own in judge.held_out}

    def of(name: str) -> LibraryJudge:
        words = f"a classifier of words, balanced accuracy {accuracy[name]:.0%} on replies by another writer"
        return LibraryJudge(name, words, judge)

    return of
