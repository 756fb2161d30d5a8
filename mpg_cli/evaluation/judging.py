"""Who says which personas a reply shows: the common shape of the judges, and the one that counts markers.

A judgement runs from 0 (the persona is not there) to 1. Torch-free.
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

OTHERS = (
    "--markers FILE has markers of your own, --judge classifier learns from texts, --judge-url asks a model"
)


@dataclass(frozen=True)
class Exhibit:
    """A reply and one persona to look for in it: `told` says who that is."""

    id: str  # of the reply, for the records
    prompt: str
    text: str
    persona: str
    told: str = ""
    reference: str | None = None


@dataclass(frozen=True)
class Judgement:
    """How much a reply shows a persona, 0 to 1."""

    id: str
    persona: str
    score: float
    answer: str = ""  # an external judge's answer

    @property
    def key(self) -> tuple[str, str]:
        return self.id, self.persona

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "persona": self.persona, "score": self.score, "answer": self.answer}


Keep = Callable[[Judgement], None]
Report = Callable[[float], None]


class Judge(Protocol):
    """Judges replies. `about` says for the record who judged, and by what: another judge, another `about`.

    `words` is that in a line.
    """

    about: dict[str, Any]
    words: str

    def check(self, personas: Iterable[str]) -> None:
        """Raise UsageError if it cannot judge one of these personas; before any work."""

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        """A score an exhibit, in their order; `keep` is given each as it comes."""


def digest(content: str) -> str:
    """Of what replies or judgements depend on, for the records."""
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class MarkerJudge:
    """1 where the words and phrases of a persona stand in enough sentences, 0 elsewhere."""

    def __init__(self, file: Path | None = None) -> None:
        """Markers of a file; without one those of the bundled personas."""
        self._marks = bundled() if file is None else read_markers(file)
        self._whose = "the package" if file is None else visible(str(file))
        self.about: dict[str, Any] = {
            "kind": "markers",
            "file": None if file is None else str(file),
            "digest": digest(repr(self._marks.content)),
        }
        self.words = f"markers of {self._whose}"

    def check(self, personas: Iterable[str]) -> None:
        missing = [name for name in personas if not self._marks.knows(name)]
        if missing:
            raise UsageError(
                f"{self._whose} has no markers of {', '.join(map(visible, missing))}", hint=OTHERS
            )

    def judge(self, exhibits: Sequence[Exhibit], keep: Keep, report: Report) -> list[float]:
        scores = [float(self._marks.shows(one.text, one.persona)) for one in exhibits]
        for one, score in zip(exhibits, scores, strict=True):
            keep(Judgement(one.id, one.persona, score))
        report(1.0)
        return scores
