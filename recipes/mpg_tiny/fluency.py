"""The sentence check: a sentence passes if nearly all of its word bigrams occur in the grammar.

The ends of a sentence count as words. The threshold is calibrated on fresh sentences of the grammar, never
on output of the model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from recipes.mpg_tiny.classifier import mixed_specs
from recipes.mpg_tiny.corpus import corpus, reply
from recipes.mpg_tiny.judge import sentences

DIALOGUES = 60000
SEED = 21
LOST = 0.01  # share of fresh sentences of the grammar that the check may reject
END = "."


def words(sentence: str) -> list[str]:
    """Words of a sentence, in lower case."""
    return re.findall(r"[a-z0-9'-]+", sentence.lower())


def grammar_sentences(dialogues: int, seed: int) -> list[str]:
    """Sentences of replies of the grammar: half drawn as in the corpus, half with many more personas."""
    specs = (*corpus(dialogues // 2, seed), *mixed_specs(dialogues // 2, seed))
    return [sentence for spec in specs for sentence in sentences(reply(spec, 0))]


def shuffled(sentence: str, rng: random.Random) -> str | None:
    """The sentence with its words in another order; None if there is no other order."""
    before = words(sentence)
    if len(set(before)) < 2:
        return None
    after = list(before)
    while after == before:
        rng.shuffle(after)
    return " ".join(after)


class SentenceCheck:
    """The word pairs of a large draw, and the minimum share of known pairs of a passing sentence."""

    def __init__(self, dialogues: int = DIALOGUES, seed: int = SEED) -> None:
        self._pairs = {
            pair for sentence in grammar_sentences(dialogues, seed) for pair in self.pairs(sentence)
        }
        fresh = sorted(map(self.known, grammar_sentences(dialogues // 10, seed + 1)))
        self.least = fresh[int(LOST * len(fresh))]

    @staticmethod
    def pairs(sentence: str) -> list[tuple[str, str]]:
        """Neighbouring words of a sentence, its ends included."""
        return list(pairwise([END, *words(sentence), END]))

    def known(self, sentence: str) -> float:
        """Share of the pairs of the sentence that occur in the grammar."""
        pairs = self.pairs(sentence)
        return sum(pair in self._pairs for pair in pairs) / len(pairs)

    def unknown_pairs(self, sentence: str) -> list[tuple[str, str]]:
        """The pairs of the sentence that do not occur in the grammar."""
        return [pair for pair in self.pairs(sentence) if pair not in self._pairs]

    def passes(self, sentence: str) -> bool:
        """Whether the sentence reads as one of the grammar."""
        return self.known(sentence) >= self.least

    def passed(self, texts: Iterable[str]) -> list[bool]:
        """The result of the check for each sentence of the texts."""
        return [self.passes(sentence) for text in texts for sentence in sentences(text)]

    def shuffles_rejected(self, texts: Sequence[str], seed: int = 0) -> list[bool]:
        """For each sentence that can be shuffled, whether the check rejects a shuffle of it."""
        rng = random.Random(f"{seed}/shuffle")
        return [not self.passes(text) for text in (shuffled(s, rng) for s in texts) if text is not None]
