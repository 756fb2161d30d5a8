"""The protocol of judges, which score how much a reply shows a persona, and the marker judge.

A score runs from 0 (the persona is not shown) to 1. Torch-free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.markers import bundled, read_markers
from mpg_cli.io.text import visible

OWN_JUDGE_HINT = (
    "give markers with --markers FILE, or texts that show it with --train-texts FILE, or ask a model with "
    "--judge-url"
)


@dataclass(frozen=True)
class Exhibit:
    """A reply and one persona to look for; `description` is the description of the persona."""

    id: str  # of the reply, for the records
    prompt: str
    text: str
    persona: str
    description: str = ""
    reference: str | None = None


@dataclass(frozen=True)
class Judgement:
    """How much a reply shows a persona, 0 to 1."""

    id: str
    persona: str
    score: float
    answer: str = ""  # of an external judge

    @property
    def key(self) -> tuple[str, str]:
        return self.id, self.persona

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "persona": self.persona, "score": self.score, "answer": self.answer}


Keep = Callable[[Judgement], None]
Report = Callable[[float], None]


class Judge(Protocol):
    """Scores replies. `about` identifies the judge and its data in records; `words` is a short form."""

    about: dict[str, Any]
    words: str

    def check(self, personas: Iterable[str]) -> None:
        """Raise UsageError if the judge cannot judge one of these personas."""

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        """One score per exhibit, in order; each judgement goes to `keep` as soon as it is known."""


def digest(content: str) -> str:
    """A fingerprint of inputs (BLAKE2b-64, hexadecimal), for the records."""
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class MarkerJudge:
    """Score 1 where enough sentences contain words or phrases of the persona, otherwise 0."""

    def __init__(self, file: Path | None = None) -> None:
        """Use the markers of a file; without one, those of the bundled personas."""
        self._marks = bundled() if file is None else read_markers(file)
        self._source = "the package" if file is None else visible(str(file))
        self.about: dict[str, Any] = {
            "kind": "markers",
            "file": None if file is None else str(file),
            "digest": digest(repr(self._marks.content)),
        }
        self.words = f"markers of {self._source}"

    def check(self, personas: Iterable[str]) -> None:
        missing = [name for name in personas if not self._marks.has(name)]
        if missing:
            raise UsageError(
                f"{self._source} has no markers of {', '.join(map(visible, missing))}", hint=OWN_JUDGE_HINT
            )

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        scores = [float(self._marks.shows(one.text, one.persona)) for one in exhibits]
        for one, score in zip(exhibits, scores, strict=True):
            keep(Judgement(one.id, one.persona, score))
        report(1.0)
        return scores
