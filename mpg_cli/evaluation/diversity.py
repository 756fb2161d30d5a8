"""Diversity of texts: distinct n-grams, and BLEU of each against the others. Pure functions.

Tokens are runs of letters and digits with inner apostrophes, in lower case, and single other characters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

Words = Sequence[str]

ORDER = 4  # the longest n-grams of BLEU
NO_MATCH = 0.1  # in place of 0 matches, as in Chen and Cherry's first smoothing

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return _WORD.findall(text.lower())


def ngrams(text: Words, n: int) -> list[tuple[str, ...]]:
    """All n-grams in order."""
    return [tuple(text[at : at + n]) for at in range(len(text) - n + 1)]


def distinct(texts: Iterable[Words], n: int) -> float | None:
    """Distinct n-grams divided by all n-grams of all texts, from 0 to 1; None without any."""
    every = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(every)) / len(every) if every else None


def bleu(text: Words, references: Sequence[Words]) -> float:
    """BLEU-4 of one text, from 0 to 1, smoothed; 0 for an empty text or without references."""
    if not text or not references:
        return 0.0
    matches = []
    for n in range(1, ORDER + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= Counter(ngrams(reference, n))
        matches.append(sum((Counter(ngrams(text, n)) & most).values()))
    return _score(len(text), matches, [len(reference) for reference in references])


def self_bleu(texts: Sequence[Words]) -> float | None:
    """Mean BLEU-4 of each text against all others: 1 if all are the same, lower the more they differ.

    None for fewer than two texts.
    """
    if len(texts) < 2:
        return None
    matches = [[0] * ORDER for _ in texts]
    for n in range(1, ORDER + 1):
        counts = [Counter(ngrams(text, n)) for text in texts]
        best: dict[tuple[str, ...], tuple[int, int]] = {}  # the two largest counts in any text
        for own in counts:
            for gram, count in own.items():
                first, second = best.get(gram, (0, 0))
                best[gram] = (count, first) if count > first else (first, max(second, count))
        for at, own in enumerate(counts):
            for gram, count in own.items():
                first, second = best[gram]
                others = second if count == first else first
                matches[at][n - 1] += min(count, others)
    lengths = [len(text) for text in texts]
    return fmean(
        _score(length, own, lengths[:at] + lengths[at + 1 :]) if length else 0.0
        for at, (length, own) in enumerate(zip(lengths, matches, strict=True))
    )


def _score(length: int, matches: Sequence[int], references: Iterable[int]) -> float:
    """The geometric mean of the n-gram precisions times the brevity penalty.

    The reference length is the nearest one, the shorter of two equally near.
    """
    logs = [
        math.log((match or NO_MATCH) / max(1, length - n)) for n, match in enumerate(matches)
    ]  # length - n n-grams of n + 1 words
    nearest = min(references, key=lambda other: (abs(other - length), other))
    penalty = min(0.0, 1 - nearest / length)
    return math.exp(fmean(logs) + penalty) if matches[0] else 0.0
