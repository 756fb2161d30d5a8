"""The figures of the quality report and their targets, computed from samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.mpg_tiny.blends import BASE, POLE_CHARACTER, SINGLE, TYPE_CHARACTER, Sample
from recipes.mpg_tiny.classifier import Classifier
from recipes.mpg_tiny.corpus import PERSONAS
from recipes.mpg_tiny.fluency import SentenceCheck, words
from recipes.mpg_tiny.judge import MARKERS, marker_pattern, personas_shown, sentences

ENGINE = "through the program's engine"
PROMPT = "prompt as the expert"
UNTRUNCATED = "shown without min-p"
UNTRUNCATED_SENTENCES = "sentences that pass without min-p"
MARKERS_USED = "markers used"
TOP_MARKER = "most frequent marker"
OWN_WORD = "most frequent word of its own"
AGREEMENT = "second judge"
BLEND_AGREEMENT = "second judge on blends"
DISTINCT = "distinct replies"
SENTENCES = "sentences that pass"
SENTENCES_OF = "sentences that pass, by blend"
SHUFFLES = "shuffled sentences refused"
RARE = 0.05  # a word in fewer replies of the base is a persona's own


@dataclass(frozen=True)
class Target:
    """The lower or upper bound of a figure."""

    bound: float
    least: bool = True

    def met(self, value: float) -> bool:
        """Whether a value meets the bound."""
        return value >= self.bound if self.least else value <= self.bound

    def asked(self, of_share: bool) -> str:
        """The target in words."""
        bound = f"{100 * self.bound:g} %" if of_share else f"{self.bound:g}"
        return f"at {'least' if self.least else 'most'} {bound}"


TARGETS: dict[str, Target] = {
    SINGLE: Target(0.90),
    BASE: Target(0.20, least=False),
    POLE_CHARACTER: Target(0.75),
    TYPE_CHARACTER: Target(0.60),
    ENGINE: Target(0.60),
    MARKERS_USED: Target(15),
    TOP_MARKER: Target(0.40, least=False),
    AGREEMENT: Target(0.85),
    BLEND_AGREEMENT: Target(0.85),
    DISTINCT: Target(0.80),
    SENTENCES: Target(0.95),
    SHUFFLES: Target(0.95),
}


@dataclass(frozen=True)
class Figure:
    """One number: its group, what it measures, and evidence from the data.

    ``total`` is the number of cases of a share, and 0 for a count.
    """

    group: str
    key: str
    value: float
    total: int = 0
    evidence: str = ""

    @property
    def name(self) -> str:
        """Group and key, the key of REASONS."""
        return f"{self.group}: {self.key}"

    @property
    def met(self) -> bool:
        """Whether the target is met; a figure without one always is."""
        return self.group not in TARGETS or TARGETS[self.group].met(self.value)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of a share."""
        return wilson(self.value, self.total)


def wilson(share: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval of a share of `total` cases."""
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def percent(value: float, target: Target | None = None) -> str:
    """A share as text, with enough digits (at least one) to stay on its side of the target."""
    for digits in range(1, 9):
        text = f"{100 * value:.{digits}f}"
        if target is None or target.met(float(text) / 100) == target.met(value):
            break
    return f"{text} %"


def share(group: str, key: str, hits: Iterable[bool], evidence: str = "") -> Figure:
    """The share of true cases; 0 without cases."""
    cases = list(hits)
    return Figure(group, key, sum(cases) / max(1, len(cases)), len(cases), evidence)


def all_figures(samples: Sequence[Sample], second: Classifier, check: SentenceCheck) -> list[Figure]:
    """Every figure that the samples of the report allow."""
    base = next(sample for sample in samples if sample.blend.kind == BASE)
    singles = {next(iter(s.blend.weights)): s for s in samples if s.blend.kind == SINGLE}
    return [
        *(figure for sample in samples for figure in presence(sample)),
        *(figure for name, sample in singles.items() for figure in marker_figures(name, sample.texts)),
        *(own_word(name, sample.texts, base.texts) for name, sample in singles.items()),
        *(figure for name in singles for figure in agreement(name, base, samples, second)),
        *map(distinct, samples),
        *sentence_figures(samples, check),
    ]


def presence(sample: Sample) -> Iterator[Figure]:
    """The share of replies that show the blend; for the base, the share that show each persona."""
    blend, texts = sample.blend, sample.texts
    if blend.kind == BASE:
        shown = [personas_shown(text) for text in texts]
        yield from (share(BASE, name, (name in names for names in shown)) for name in PERSONAS)
    else:
        yield share(blend.kind, blend.expression, map(blend.shown, texts), parts(sample))


def parts(sample: Sample) -> str:
    """Each persona of a blend with the share of replies that show it."""
    shown = [personas_shown(text) for text in sample.texts]
    return ", ".join(
        f"{name} {100 * sum(name in names for names in shown) / len(shown):.0f} %"
        for name in sample.blend.weights
    )


def engine_figure(sample: Sample) -> Figure:
    """The figure of a blend, for replies of the sampler of mpg."""
    blend = sample.blend
    return share(ENGINE, blend.expression, map(blend.shown, sample.texts), parts(sample))


def untruncated_figures(sample: Sample, check: SentenceCheck) -> Iterator[Figure]:
    """A blend's figure and its share of sentences that pass, for replies sampled without min-p."""
    yield share(UNTRUNCATED, sample.blend.expression, map(sample.blend.shown, sample.texts), parts(sample))
    yield share(UNTRUNCATED_SENTENCES, sample.blend.expression, check.passed(sample.texts))


def prompt_figure(name: str, texts: Sequence[str]) -> Figure:
    """The share of replies that show a persona given as a system prompt only."""
    return share(PROMPT, name, (name in personas_shown(text) for text in texts))


def marker_figures(persona: str, texts: Sequence[str]) -> Iterator[Figure]:
    """The number of markers in the persona's replies, and the share with the most frequent one."""
    found = {
        marker: [bool(marker_pattern(marker).search(text.lower())) for text in texts]
        for marker in MARKERS[persona]
    }
    unused = [marker for marker, hits in found.items() if not any(hits)]
    evidence = f"never used: {', '.join(unused)}" if unused else "every marker is used"
    used = len(found) - len(unused)
    yield Figure(MARKERS_USED, persona, used, evidence=f"of {len(found)} listed; {evidence}")
    top = max(found, key=lambda marker: sum(found[marker]))
    yield share(TOP_MARKER, persona, found[top], f"`{top}`".replace("|", "\\|"))


def own_word(persona: str, texts: Sequence[str], base: Sequence[str]) -> Figure:
    """The most frequent word that is rare in the base's replies, and whether it is in a marker."""
    marker = marker_pattern("|".join(MARKERS[persona]))
    common = Counter(word for text in base for word in set(words(text)))
    found = Counter(word for text in texts for word in set(words(text)))
    free = Counter(word for text in texts for word in set(words(marker.sub(" ", text.lower()))))
    own = {word: count for word, count in found.items() if common[word] < RARE * len(base)}
    if not own:
        return share(OWN_WORD, persona, [False] * len(texts), "none")
    word = max(own, key=lambda name: (own[name], name))
    listed = "in a marker" if 2 * free[word] < own[word] else "in no marker"
    return Figure(OWN_WORD, persona, own[word] / len(texts), len(texts), f"{word}, {listed}")


def agreement(persona: str, base: Sample, samples: Sequence[Sample], second: Classifier) -> Iterator[Figure]:
    """The agreement of both judges on replies with the persona and as many without it.

    Of those without, half are the base's and half are spread over others': of the single personas, then of
    the blends.
    """
    groups = {AGREEMENT: (SINGLE,), BLEND_AGREEMENT: (POLE_CHARACTER, TYPE_CHARACTER)}
    for group, kinds in groups.items():
        own: list[str] = []
        others: list[str] = []
        for sample in (sample for sample in samples if sample.blend.kind in kinds):
            (own if persona in sample.blend.weights else others).extend(sample.texts)
        half = min(len(own) // 2, len(base.texts))
        if half:
            texts = (*spread(own, 2 * half), *spread(base.texts, half), *spread(others, half))
            yield _agreement(group, persona, texts, second)


def spread(texts: Sequence[str], count: int) -> list[str]:
    """`count` of the texts, evenly spaced."""
    count = min(count, len(texts))
    return [texts[index * len(texts) // count] for index in range(count)]


def _agreement(group: str, persona: str, texts: Sequence[str], second: Classifier) -> Figure:
    ours = [persona in personas_shown(text) for text in texts]
    theirs = second.shows(texts, persona)
    pairs = list(zip(ours, theirs, strict=True))
    only = [sum(pair == answer for pair in pairs) / len(pairs) for answer in ((True, False), (False, True))]
    evidence = f"only the markers say yes {percent(only[0])}, only the classifier {percent(only[1])}"
    return share(group, persona, (one == other for one, other in pairs), evidence)


def distinct(sample: Sample) -> Figure:
    """The number of distinct replies, as a share of all."""
    (text, most), *_ = Counter(sample.texts).most_common(1)
    total = len(sample.texts)
    evidence = f"the most frequent reply, {most} times: {text}"
    return Figure(DISTINCT, _name(sample), len(set(sample.texts)) / total, total, evidence)


def sentence_figures(samples: Sequence[Sample], check: SentenceCheck) -> Iterator[Figure]:
    """Shares of sentences that pass, by blend and by kind, and of shuffles that are rejected."""
    for sample in samples:
        yield share(SENTENCES_OF, _name(sample), check.passed(sample.texts))
    kinds: Mapping[str, list[str]] = {
        kind: [text for sample in samples if sample.blend.kind == kind for text in sample.texts]
        for kind in dict.fromkeys(sample.blend.kind for sample in samples)
    }
    for kind, texts in kinds.items():
        yield share(SENTENCES, kind, check.passed(texts), _oddities(texts, check))
    every = [sentence for sample in samples for text in sample.texts for sentence in sentences(text)]
    yield share(SHUFFLES, "all replies", check.shuffles_rejected(every))


def _oddities(texts: Sequence[str], check: SentenceCheck) -> str:
    """The pairs of words that most often make a sentence fail."""
    failed = [s for text in texts for s in sentences(text) if not check.passes(s)]
    pairs = Counter(" ".join(pair) for sentence in failed for pair in check.unknown_pairs(sentence))
    named = ", ".join(f"“{pair}” {count}" for pair, count in pairs.most_common(5))
    return f"{len(failed)} sentences fail; their most frequent new pairs of words: {named or 'none'}"


def _name(sample: Sample) -> str:
    return sample.blend.expression or BASE
