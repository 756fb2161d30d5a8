"""The trained judge: TF-IDF of word unigrams and bigrams, and one logistic regression per persona.

It is trained on texts with known personas and reports its accuracy on held-out texts. Needs scikit-learn.
Torch-free.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judging import Exhibit, Judgement, Keep, Report, digest
from mpg_cli.io.lines import read_lines
from mpg_cli.io.text import visible

BUNDLED = DATA / "persona_texts.jsonl"
HELD_OUT = 0.25  # share of the texts
MIN_TEXTS = 20  # that show a persona, and that do not
SEED = 0


@dataclass(frozen=True)
class Sample:
    """A text and the personas it shows, in lower case; none for a neutral text."""

    personas: frozenset[str]
    text: str


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


class ClassifierJudge:
    """Score 1 where the classifier of the persona predicts it, otherwise 0."""

    def __init__(self, personas: Iterable[str], file: Path | None = None) -> None:
        """Train for these personas on a file of texts; without one, on the texts of the bundled personas.

        Raises UsageError without scikit-learn or with too few texts.
        """
        try:
            import sklearn  # noqa: F401
        except ImportError:
            raise UsageError(
                "--judge classifier needs scikit-learn",
                hint="pip install 'mpg-cli[eval]', or use another --judge",
            ) from None
        place = BUNDLED if file is None else file.expanduser()
        self._source = "the package" if file is None else visible(str(file))
        names = list(dict.fromkeys(personas))
        samples = read_samples(place)
        self._check_enough(samples, names)
        training, held = split(samples)
        self._vectors, self._models = _train(training, names)
        self.held_out = [self._evaluate(name, held) for name in names]
        shares = [own.accuracy for own in self.held_out]
        self.about: dict[str, Any] = {
            "kind": "classifier",
            "file": None if file is None else str(file),
            "digest": digest(repr([(sorted(sample.personas), sample.text) for sample in samples])),
            "texts": len(training),
            "held_out": [own.as_json() for own in self.held_out],
        }
        self.words = (
            f"a classifier trained on {len(training)} texts of {self._source}, balanced "
            f"accuracy {min(shares):.0%} to {max(shares):.0%} on {len(held)} others"
        )

    def check(self, personas: Iterable[str]) -> None:
        missing = [name for name in personas if name not in self._models]
        if missing:
            raise UsageError(f"the classifier is not trained for {', '.join(map(visible, missing))}")

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        if not exhibits:
            return []
        rows = self._vectors.transform([one.text for one in exhibits])
        found = {
            name: self._models[name].predict(rows) for name in dict.fromkeys(one.persona for one in exhibits)
        }
        scores = [float(found[one.persona][at]) for at, one in enumerate(exhibits)]
        for one, score in zip(exhibits, scores, strict=True):
            keep(Judgement(one.id, one.persona, score))
        report(1.0)
        return scores

    def _check_enough(self, samples: Sequence[Sample], names: Sequence[str]) -> None:
        for name in names:
            own = sum(name.lower() in sample.personas for sample in samples)
            if own < MIN_TEXTS or len(samples) - own < MIN_TEXTS:
                raise UsageError(
                    f"{self._source} has {own} texts that show {visible(name)} and {len(samples) - own} that "
                    f"do not; {MIN_TEXTS} of each are needed",
                    hint="use --train-texts FILE.jsonl, lines of {persona, text}, or --judge-url",
                )

    def _evaluate(self, name: str, held: Sequence[Sample]) -> HeldOut:
        """True positive and true negative rates on the held-out texts."""
        predicted = self._models[name].predict(self._vectors.transform([sample.text for sample in held]))
        right: dict[bool, list[bool]] = {True: [], False: []}
        for sample, answer in zip(held, predicted, strict=True):
            shows = name.lower() in sample.personas
            right[shows].append(bool(answer) == shows)
        shares = {shows: sum(own) / len(own) if own else 0.0 for shows, own in right.items()}
        return HeldOut(name, len(held), shares[True], shares[False])


def _train(samples: Sequence[Sample], names: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\b[\w'’]+\b")
    try:
        rows = vectors.fit_transform([sample.text for sample in samples])
    except ValueError as error:  # no word occurs twice
        raise UsageError(f"the classifier cannot be trained on the texts: {error}") from None
    models = {}
    for name in names:
        model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", random_state=SEED)
        models[name] = model.fit(rows, [name.lower() in sample.personas for sample in samples])
    return vectors, models


def split(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Texts for training and held-out texts; deterministic, and equal texts stay on one side."""
    texts = sorted({sample.text for sample in samples})
    random.Random(SEED).shuffle(texts)
    held = set(texts[: max(1, round(HELD_OUT * len(texts)))])
    return (
        [sample for sample in samples if sample.text not in held],
        [sample for sample in samples if sample.text in held],
    )


def read_samples(file: Path) -> list[Sample]:
    """Lines {persona, text}; `persona` is a name, or a list of them, empty for a neutral text.

    Raises UsageError naming file and line.
    """
    name = visible(str(file))
    return [_sample(f"{name}:{n}", line) for n, line in enumerate(read_lines(file, name), 1) if line.strip()]


def _sample(where: str, line: str) -> Sample:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: not JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("text"), str) or "persona" not in data:
        raise UsageError(f"{where}: must be {{persona, text}}")
    named = data["persona"] if isinstance(data["persona"], list) else [data["persona"]]
    if not all(isinstance(name, str) and name for name in named):
        raise UsageError(f"{where}: persona must be a name, or a list of names")
    return Sample(frozenset(name.lower() for name in named), data["text"])
