"""A judge made of a persona's own training pairs: TF-IDF of words, and a logistic regression.

It tells chosen from rejected replies, and its accuracy on held-out pairs is reported. Needs scikit-learn.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpg_cli.training.rows import Row

LEAST_ACCURACY = 0.7  # balanced, on held-out replies
_TOKENS = r"[\w'’]+|[^\w\s]"  # words and single marks: a persona may live in its exclamation marks


@dataclass(frozen=True)
class TextJudge:
    """Whether a reply reads like the chosen ones; `words` says how the judge was made and how good it is."""

    words: str
    _vectors: Any
    _model: Any

    def __call__(self, replies: Sequence[str]) -> list[bool]:
        return [bool(one) for one in self._model.predict(self._vectors.transform(replies))]


def text_judge(trained: Sequence[Row], held_out: Sequence[Row]) -> TextJudge | str:
    """A judge trained on these rows and tested on the held-out ones; or why there is none."""
    if any(len(row.replies) < 2 for row in trained):
        return "the data has no rejected replies that a judge could learn from"
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return "a judge needs scikit-learn: pip install 'mpg-cli[eval]'"
    texts = _labelled(trained)
    if {*texts.values()} != {True, False}:
        return "the same replies are chosen and rejected, so a judge could not tell them apart"
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_TOKENS)
    try:
        rows = vectors.fit_transform(list(texts))
    except ValueError:  # no words at all
        return "the replies of the data have no words that a judge could learn from"
    model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", random_state=0)
    model.fit(rows, list(texts.values()))
    others = {text: shows for text, shows in _labelled(held_out).items() if text not in texts}
    words = f"a classifier of words trained on {len(texts)} replies of the data"
    if {*others.values()} != {True, False}:
        return TextJudge(words, vectors, model)
    found = model.predict(vectors.transform(list(others)))
    shares = []
    for kind in (True, False):
        right = [
            bool(one) == kind for one, shows in zip(found, others.values(), strict=True) if shows == kind
        ]
        shares.append(sum(right) / len(right))
    accuracy = sum(shares) / 2
    if accuracy < LEAST_ACCURACY:
        return f"a classifier of the data tells held-out replies apart in {accuracy:.0%} only"
    words += f", balanced accuracy {accuracy:.0%} on {len(others)} others"
    return TextJudge(words, vectors, model)


def _labelled(rows: Sequence[Row]) -> dict[str, bool]:
    """Each reply once, and whether it is a chosen one."""
    rejected = {row.replies[1]: False for row in rows if len(row.replies) > 1}
    return rejected | {row.replies[0]: True for row in rows}
