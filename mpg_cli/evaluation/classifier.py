"""Judges that are trained: features of a text, and one logistic regression per persona.

The features of the classifier are TF-IDF of words, those of encoder.py sentence embeddings. A judge reports
its accuracy on held-out texts. Needs scikit-learn. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judge_texts import JudgeTexts
from mpg_cli.evaluation.judging import Exhibit, Judgement, Keep, Report
from mpg_cli.io.text import visible


class Features(Protocol):
    """Turns texts into rows of numbers. `kind` names the judge; `about` is what determines the rows."""

    kind: str
    words: str
    about: dict[str, Any]

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the training texts, where there is something to learn."""

    def rows(self, texts: Sequence[str]) -> Any:
        """A matrix of one row per text."""


class WordFeatures:
    """TF-IDF of words and pairs of words; exclamation and question marks count as words."""

    kind = "classifier"
    words = "a classifier"

    def __init__(self) -> None:
        """Raises UsageError without scikit-learn."""
        require_scikit_learn("classifier", "eval")
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.about: dict[str, Any] = {}
        self._vectors = TfidfVectorizer(
            ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\b[\w'’]+\b|[!?]"
        )

    def fit(self, texts: Sequence[str]) -> None:
        try:
            self._vectors.fit(texts)
        except ValueError as error:  # no word occurs twice
            raise UsageError(f"the classifier cannot be trained on the texts: {error}") from None

    def rows(self, texts: Sequence[str]) -> Any:
        return self._vectors.transform(texts)


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
    """Score 1 where the classifier of the persona predicts it, otherwise 0."""

    def __init__(self, features: Features, texts: JudgeTexts) -> None:
        """Train on the texts, and test on those held out.

        Raises UsageError for texts that cannot be learnt from, and for a persona whose balanced accuracy is
        below `texts.least`.
        """
        self._features = features
        features.fit(texts.training)
        personas = [own.persona for own in texts.labels]
        training = list(_examples(features, texts.training, [own.training for own in texts.labels]))
        testing = list(_examples(features, texts.held_out, [own.held_out for own in texts.labels]))
        self._models = {name: _fitted(own) for name, own in zip(personas, training, strict=True)}
        self.held_out = [
            _held_out(name, self._models[name], own) for name, own in zip(personas, testing, strict=True)
        ]
        _refuse_weak(features.kind, texts, self.held_out)
        count, tested = (max(len(own.labels) for own in examples) for examples in (training, testing))
        self.about: dict[str, Any] = {
            "kind": features.kind,
            **features.about,
            "source": texts.source,
            "digest": texts.digest,
            "texts": count,
            "held_out": [own.as_json() for own in self.held_out],
        }
        shares = ", ".join(f"{visible(own.persona)} {own.accuracy:.0%}" for own in self.held_out)
        self.words = (
            f"{features.words} trained on {count} texts of {texts.source}; balanced accuracy on "
            f"{tested} {texts.testers}: {shares}"
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
            (name, text): str(label) == name and bool(text.strip())
            for name in dict.fromkeys(one.persona for one in exhibits)
            for text, label in zip(texts, self._models[name].predict(rows), strict=True)
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
    """The rows of a persona's texts and their labels."""

    rows: Any
    labels: list[str]


def _examples(
    features: Features, texts: Sequence[str], labels: Sequence[Sequence[str | None]]
) -> Iterator[_Examples]:
    """The examples of each persona, whose labels of these texts are given; each text is read once."""
    used = [at for at in range(len(texts)) if any(own[at] is not None for own in labels)]
    rows = features.rows([texts[at] for at in used])
    for own in labels:
        found = [(row, label) for row, at in enumerate(used) if (label := own[at]) is not None]
        yield _Examples(rows[[row for row, _ in found]], [label for _, label in found])


def _fitted(examples: _Examples) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    return model.fit(examples.rows, examples.labels)


def _held_out(persona: str, model: Any, examples: _Examples) -> HeldOut:
    """True positive and true negative rates."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for label, predicted in zip(examples.labels, model.predict(examples.rows), strict=True):
        shows = label == persona
        right[shows].append((str(predicted) == persona) == shows)
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
