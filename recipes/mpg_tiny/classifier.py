"""The second judge: one classifier per persona, trained on texts of the grammar without markers.

Its features are words and word bigrams without punctuation, after the words that the marker judge counts are
removed. For a voice the words it exchanges (ye, thee) and the rest of its stock phrases remain: of "by the
seven seas" the marker is "seven seas", and "by the" is left. Agreement on a voice therefore shows that its
phrases are complete, not that the voice goes beyond its phrases.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.mpg_tiny.corpus import PERSONAS, Spec, corpus, reply, with_persona
from recipes.mpg_tiny.grammar import DIMENSIONS
from recipes.mpg_tiny.judge import MARKERS
from recipes.mpg_tiny.voices import VOICES

TEXTS = 8000
SEED = 11
PLAIN_RATE = 0.25  # share of texts drawn as in the corpus, mostly neutral
POLE_RATE = 0.5  # of the others, a dimension shows one of its poles
VOICE_RATE = 0.6  # of the others are said in a voice

# The marker judge replaces dialect words before the search, so markers also have these forms.
_FORMS = {
    "yourself": "yourself|yerself|thyself",
    "myself": "myself|meself",
    "your": "your|yer|thy",
    "my": "my|me",
    "you": "you|ye|thee|thou",
    "of": "of|o'",
}
_FORM = re.compile(r"\b(" + "|".join(_FORMS) + r")\b")
_TOKEN = re.compile(r"[a-z]+(?:['-][a-z]+)*")


def _any_marker() -> re.Pattern[str]:
    """Every marker of every persona, the longest first, in the words of any voice."""
    fragments = sorted({f for marks in MARKERS.values() for f in marks}, key=len, reverse=True)
    forms = (_FORM.sub(lambda match: f"(?:{_FORMS[match.group()]})", f) for f in fragments)
    return re.compile(rf"(?<![\w'])(?:{'|'.join(forms)})(?!\w)")


_MARKER = _any_marker()


def unmarked(text: str) -> list[str]:
    """The pieces of a text, in lower case, between its markers."""
    return [piece for piece in _MARKER.split(text.lower()) if piece.strip()]


def features(text: str) -> list[str]:
    """Words and pairs of neighbours in the pieces of an unmarked text; no pair spans a cut."""
    found: list[str] = []
    for piece in unmarked(text):
        tokens = _TOKEN.findall(piece)
        found += tokens
        found += [f"{first} {second}" for first, second in pairwise(tokens)]
    return found


def mixed_specs(count: int, seed: int) -> Iterator[Spec]:
    """Dialogues as in the corpus, with many more personas in them."""
    rng = random.Random(f"{seed}/classifier")
    for spec in corpus(count, seed):
        if spec.choice is not None:
            continue
        if rng.random() >= PLAIN_RATE:
            for pair in DIMENSIONS:
                if rng.random() < POLE_RATE:
                    spec = with_persona(spec, rng.choice(pair))
            if rng.random() < VOICE_RATE:
                spec = with_persona(spec, rng.choice(tuple(VOICES)))
        yield spec


class Classifier:
    """A binary classifier per persona, trained on the grammar."""

    def __init__(self, texts: int = TEXTS, seed: int = SEED) -> None:
        specs = list(mixed_specs(texts, seed))
        self._vectors = TfidfVectorizer(analyzer=features, min_df=2, sublinear_tf=True)
        rows = self._vectors.fit_transform([reply(spec, 0) for spec in specs])
        self._models: dict[str, Any] = {}
        for persona in PERSONAS:
            answers = [persona in spec.personas for spec in specs]
            model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", random_state=0)
            self._models[persona] = model.fit(rows, answers)

    def shows(self, texts: Sequence[str], persona: str) -> list[bool]:
        """Whether each text shows the persona."""
        return [bool(answer) for answer in self._models[persona].predict(self._vectors.transform(texts))]
