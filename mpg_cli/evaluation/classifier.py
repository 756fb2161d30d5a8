"""Judges that are trained: features of a text, and one logistic regression per persona.

The features of the classifier are TF-IDF of words, those of encoder.py sentence embeddings. A judge reports
its accuracy on held-out texts. Needs scikit-learn. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judge_texts import JudgeTexts
from mpg_cli.evaluation.judging import Exhibit, Judgement, Keep, Report
from mpg_cli.io.text import visible

FOLDS = 4
SEED = 0


class Features(Protocol):
    """Turns texts into rows of numbers. `kind` names the judge; `about` is what determines the rows."""

    kind: str
    words: str
    about: dict[str, Any]

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the training texts, where there is something to learn."""

    def rows(self, texts: Sequence[str], *, keep: bool = False) -> Any:
        """A matrix of one row per text. `keep`: other runs will ask for the same texts."""


class WordFeatures:
    """TF-IDF of words, question and exclamation marks, and of 2 to 4 letters within a word.

    Parts of words find what another writer of the persona spells or forms differently.
    """

    kind = "classifier"
    words = "a classifier"

    def __init__(self) -> None:
        """Raises UsageError without scikit-learn."""
        require_scikit_learn("classifier", "eval")
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_union

        self.about: dict[str, Any] = {"features": "words, 2 to 4 letters"}
        self._vectors = make_union(
            TfidfVectorizer(min_df=2, sublinear_tf=True, token_pattern=r"\b[\w'’]+\b|[!?]"),
            TfidfVectorizer(min_df=2, sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4)),
        )

    def fit(self, texts: Sequence[str]) -> None:
        try:
            self._vectors.fit(texts)
        except ValueError as error:  # no word occurs twice
            raise UsageError(f"the classifier cannot be trained on the texts: {error}") from None

    def rows(self, texts: Sequence[str], *, keep: bool = False) -> Any:
        return self._vectors.transform(texts).tocsr()


@dataclass(frozen=True)
class HeldOut:
    """Results of a persona's classifier on held-out texts; `accuracy` is the balanced accuracy."""

    persona: str
    texts: int
    found: float  # true positive rate
    spared: float  # true negative rate

    @property
    def accuracy(self) -> float:
        return (self.found + self.spared) / 2

    def as_json(self) -> dict[str, Any]:
        return {
            "persona": self.persona,
            "texts": self.texts,
            "found": self.found,
            "spared": self.spared,
            "balanced_accuracy": self.accuracy,
        }


class TrainedJudge:
    """Score 1 where the classifier of the persona finds it, otherwise 0."""

    def __init__(self, features: Features, texts: JudgeTexts) -> None:
        """Train on the texts, and test on those held out.

        Raises UsageError for texts that cannot be learnt from, and for a persona whose balanced accuracy is
        below `texts.least`.
        """
        self._features = features
        features.fit(texts.training)
        personas = [own.persona for own in texts.labels]
        labels = [own.training for own in texts.labels]
        training = list(_examples(features, texts.training, texts.groups, labels))
        labels = [own.held_out for own in texts.labels]
        testing = list(_examples(features, texts.held_out, texts.held_out, labels))
        self._models = {name: _Classifier(name, own) for name, own in zip(personas, training, strict=True)}
        self.held_out = [
            _held_out(name, self._models[name], own) for name, own in zip(personas, testing, strict=True)
        ]
        _refuse_weak(features.kind, texts, self.held_out)
        counts = {name: len(own.labels) for name, own in zip(personas, training, strict=True)}
        self.about: dict[str, Any] = {
            "kind": features.kind,
            **features.about,
            "source": texts.source,
            "digest": texts.digest,
            "texts": counts,
            "held_out": [own.as_json() for own in self.held_out],
        }
        shares = ", ".join(
            f"{visible(own.persona)} {own.accuracy:.0%} ({counts[own.persona]} texts, tested on {own.texts})"
            for own in self.held_out
        )
        self.words = (
            f"{features.words} trained on texts of {texts.source}; balanced accuracy on {texts.testers}: "
            f"{shares}"
        )

    def check(self, personas: Iterable[str]) -> None:
        missing = [name for name in personas if name not in self._models]
        if missing:
            raise UsageError(
                f"the {self._features.kind} is not trained for {', '.join(map(visible, missing))}"
            )

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        if not exhibits:
            return []
        texts = list(dict.fromkeys(one.text for one in exhibits))
        rows = self._features.rows(texts)
        shown = {
            (name, text): found and bool(text.strip())
            for name in dict.fromkeys(one.persona for one in exhibits)
            for text, found in zip(texts, self._models[name].finds(rows), strict=True)
        }
        scores = [float(shown[one.persona, one.text]) for one in exhibits]
        for one, score in zip(exhibits, scores, strict=True):
            keep(Judgement(one.id, one.persona, score))
        report(1.0)
        return scores


def require_scikit_learn(judge: str, extra: str) -> None:
    """Raise UsageError without scikit-learn."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UsageError(
            f"the judge {judge} needs scikit-learn",
            hint=f"pip install 'mpg-cli[{extra}]', or use another --judge",
        ) from None


@dataclass(frozen=True)
class _Examples:
    """The rows of a persona's texts, their groups and their labels."""

    rows: Any
    groups: list[str]
    labels: list[str]

    def part(self, chosen: Any) -> _Examples:
        """The examples at these places."""
        return _Examples(
            self.rows[chosen], [self.groups[at] for at in chosen], [self.labels[at] for at in chosen]
        )


def _examples(
    features: Features, texts: Sequence[str], groups: Sequence[str], labels: Sequence[Sequence[str | None]]
) -> Iterator[_Examples]:
    """The examples of each persona, whose labels of these texts are given; each text is read once."""
    used = [at for at in range(len(texts)) if any(own[at] is not None for own in labels)]
    rows = features.rows([texts[at] for at in used], keep=True)
    for own in labels:
        found = [(row, groups[at], label) for row, at in enumerate(used) if (label := own[at]) is not None]
        chosen, grouped, named = zip(*found, strict=True)
        yield _Examples(rows[list(chosen)], list(grouped), list(named))


class _Classifier:
    """Logistic regression of the labels, and the margin from which the persona counts as found.

    The margin is the score of the persona minus the best of the other labels. A classifier that was fitted
    to many more other texts asks for too much of a reply in other words; so the least margin is the one that
    best told the training texts apart while each was set aside.
    """

    def __init__(self, persona: str, examples: _Examples) -> None:
        from sklearn.model_selection import StratifiedGroupKFold

        self._persona = persona
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
        margins: list[tuple[float, bool]] = []
        for kept, aside in folds.split(examples.rows, examples.labels, examples.groups):
            tested = examples.part(aside)
            found = self._margins(_fitted(examples.part(kept)), tested.rows)
            margins += zip(found, (label == persona for label in tested.labels), strict=True)
        self._least = _best_split(margins)
        self._model = _fitted(examples)

    def finds(self, rows: Any) -> list[bool]:
        """Whether each text shows the persona."""
        return [margin > self._least for margin in self._margins(self._model, rows)]

    def _margins(self, model: Any, rows: Any) -> list[float]:
        import numpy as np

        scores = model.decision_function(rows)  # (N,) of the second of two labels, or (N, labels)
        own = list(model.classes_).index(self._persona)
        if scores.ndim == 1:
            return list(map(float, scores if own == 1 else -scores))
        others = np.delete(scores, own, axis=1).max(axis=1)
        return list(map(float, scores[:, own] - others))


def _fitted(examples: _Examples) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000)
    return model.fit(examples.rows, examples.labels)


def _best_split(margins: Sequence[tuple[float, bool]]) -> float:
    """The margin above which texts show the persona, with the best balanced accuracy; halfway between two."""
    ordered = sorted(margins, reverse=True)
    total = {shows: sum(own == shows for _, own in ordered) for shows in (True, False)}
    best, where, taken = -1.0, 0.0, {True: 0, False: 0}
    for (margin, shows), (following, _) in pairwise(ordered):
        taken[shows] += 1
        accuracy = taken[True] / total[True] - taken[False] / total[False]
        if accuracy > best and following < margin:
            best, where = accuracy, (margin + following) / 2
    return where


def _held_out(persona: str, model: _Classifier, examples: _Examples) -> HeldOut:
    """True positive and true negative rates."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for label, found in zip(examples.labels, model.finds(examples.rows), strict=True):
        shows = label == persona
        right[shows].append(found == shows)
    shares = {shows: sum(own) / len(own) if own else 0.0 for shows, own in right.items()}
    return HeldOut(persona, len(examples.labels), shares[True], shares[False])


def _refuse_weak(kind: str, texts: JudgeTexts, held_out: Sequence[HeldOut]) -> None:
    """Raise UsageError if the judge of a persona is below the least balanced accuracy."""
    weak = [own for own in held_out if own.accuracy < texts.least]
    if weak:
        shares = ", ".join(f"{visible(own.persona)} {own.accuracy:.0%}" for own in weak)
        other = next(name for name in ("classifier", "encoder") if name != kind)
        raise UsageError(
            f"the {kind} does not know these personas well enough, its balanced accuracy on "
            f"{texts.testers} is below {texts.least:.0%}: {shares}",
            hint=f"use --judge {other}, or --judge-url",
        )
