"""The texts that a trained judge learns from and is tested on: the library's, or those of a file.

Torch-free.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.evaluation.judging import digest
from mpg_cli.io.lines import read_lines
from mpg_cli.io.text import visible
from mpg_cli.personas import persona_data
from mpg_cli.personas.persona_data import DataPrompt

BUNDLED = DATA / "persona_texts.jsonl"  # of mpg-tiny
HELD_OUT = 0.25  # share of the texts of a file
MIN_TEXTS = 20  # of a file that show a persona, and that do not
LEAST_ACCURACY = 0.85  # balanced, of a judge of the library's personas
NEITHER = ""  # the label of a text that shows neither the persona nor its opposite
SEED = 0
_WRITTEN = {name.lower(): name for name in persona_data.NAMES}


@dataclass(frozen=True)
class Labels:
    """What each text is for one persona: its name, the name of its opposite, or NEITHER.

    None: the text is left out.
    """

    persona: str
    training: tuple[str | None, ...]
    held_out: tuple[str | None, ...]


@dataclass(frozen=True)
class JudgeTexts:
    """Texts for training and held-out texts, with labels for each persona that is judged.

    `groups`: training texts of one group, such as the replies to one prompt, stay together where a part of
    them is set aside. `testers` says whose the held-out texts are. A judge whose balanced accuracy is below
    `least` is refused.
    """

    source: str
    testers: str
    training: tuple[str, ...]
    groups: tuple[str, ...]
    held_out: tuple[str, ...]
    labels: tuple[Labels, ...]
    least: float = 0.0

    @property
    def digest(self) -> str:
        return digest(repr((self.training, self.held_out, self.labels)))


@dataclass(frozen=True)
class Sample:
    """A text and the personas it shows, in lower case; none for a neutral text."""

    personas: frozenset[str]
    text: str


def library_knows(persona: str) -> bool:
    """Whether the persona data has replies of this persona; case does not matter."""
    return persona.lower() in _WRITTEN


def library_texts(personas: Iterable[str]) -> JudgeTexts:
    """The replies of the persona data for these personas, all of which it knows.

    A character is told from all other replies, a pole from its opposite and from neutral replies; the others
    are left out there, as a blend may show the pole and a character at once. The held-out texts answer other
    prompts, and another writer wrote them.
    """
    written = _written_by(persona_data.prompts(), persona_data.replies)
    others = _written_by(persona_data.heldout(), persona_data.references)
    return JudgeTexts(
        "the package",
        "replies by another writer to other prompts",
        tuple(text for _, text in written),
        tuple(prompt.id for _ in (NEITHER, *persona_data.NAMES) for prompt in persona_data.prompts()),
        tuple(text for _, text in others),
        tuple(
            Labels(name, tuple(_labels(name, written)), tuple(_labels(name, others)))
            for name in dict.fromkeys(personas)
        ),
        LEAST_ACCURACY,
    )


def texts_of_file(personas: Iterable[str], file: Path | None = None) -> JudgeTexts:
    """The texts of a file, a part held out; without a file those of mpg-tiny.

    Raises UsageError for an invalid file, and for too few texts.
    """
    source = "the package" if file is None else visible(str(file))
    samples = read_samples(BUNDLED if file is None else file.expanduser())
    names = list(dict.fromkeys(personas))
    for name in names:
        shown = {sample.text for sample in samples if name.lower() in sample.personas}
        others = {sample.text for sample in samples if name.lower() not in sample.personas}
        if min(len(shown), len(others)) < MIN_TEXTS:
            raise UsageError(
                f"{source} has {len(shown)} texts that show {visible(name)} and {len(others)} that "
                f"do not; {MIN_TEXTS} of each are needed",
                hint="use --train-texts FILE.jsonl, lines of {persona, text}, or --judge-url",
            )
    training, held = split(samples)

    def labels(name: str, samples: Sequence[Sample]) -> tuple[str, ...]:
        return tuple(name if name.lower() in sample.personas else NEITHER for sample in samples)

    return JudgeTexts(
        source,
        "others",
        tuple(sample.text for sample in training),
        tuple(sample.text for sample in training),
        tuple(sample.text for sample in held),
        tuple(Labels(name, labels(name, training), labels(name, held)) for name in names),
    )


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


def _written_by(
    prompts: Sequence[DataPrompt], replies: Callable[[str], Mapping[str, str]]
) -> list[tuple[str, str]]:
    """The replies to these prompts with the persona that each shows, NEITHER for the neutral ones."""
    neutral = [(NEITHER, prompt.neutral) for prompt in prompts if prompt.neutral is not None]
    return neutral + [(name, replies(name)[prompt.id]) for name in persona_data.NAMES for prompt in prompts]


def _labels(persona: str, written: Sequence[tuple[str, str]]) -> Iterator[str | None]:
    """The labels of these replies for one persona, which is called `persona` by its user."""
    name = _WRITTEN[persona.lower()]
    opposite = persona_data.OPPOSITES.get(name)
    for shown, _ in written:
        if shown == name:
            yield persona
        elif opposite is None or shown == NEITHER:
            yield NEITHER
        else:
            yield opposite if shown == opposite else None
