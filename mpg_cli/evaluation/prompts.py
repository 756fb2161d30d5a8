"""The prompts of an evaluation and the replies to them. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpg_cli.config.paths import DATA
from mpg_cli.errors import UsageError
from mpg_cli.evaluation.data_lines import DataLine
from mpg_cli.io import lines
from mpg_cli.io.text import visible
from mpg_cli.personas.registry import Blend

BUILT_IN = DATA / "eval_prompts.txt"


@dataclass(frozen=True)
class EvalPrompt:
    """One prompt. `personas` are those to look for: their descriptions for the judge, by name.

    `blend` is set if every line of the data file has its own.
    """

    id: str
    prompt: str
    personas: Mapping[str, str] = field(default_factory=dict, hash=False)
    blend: Blend | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Reply:
    """One reply with its seconds and its fluency (nats per token under the base)."""

    id: str  # of the prompt
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    seconds: float
    fluency: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "text": self.text,
            "token_ids": list(self.token_ids),
            "finish_reason": self.finish_reason,
            "seconds": self.seconds,
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Reply:
        """Raises KeyError, TypeError, ValueError for data that is not a reply."""
        ids = tuple(int(token) for token in data["token_ids"])
        return cls(
            str(data["id"]), str(data["text"]), ids, str(data["finish_reason"]), float(data["seconds"])
        )


def read_prompts(file: Path | None = None, most: int | None = None) -> tuple[str, ...]:
    """The prompts of a file, one a line, the first `most` of them; without a file the built-in ones.

    Raises UsageError for an unreadable or empty file, or a wrong `most`.
    """
    found = tuple(lines.read_prompts(BUILT_IN if file is None else file, f"--prompts {visible(str(file))}"))
    if most is not None and not 1 <= most <= len(found):
        raise UsageError(f"--count {most} must be between 1 and {len(found)}, the number of prompts")
    return found[:most]


def open_prompts(questions: Iterable[DataLine], personas: Mapping[str, str]) -> tuple[EvalPrompt, ...]:
    """Open questions as prompts; the reference is an answer without any persona. Raises UsageError."""
    found = []
    for line in questions:
        asked = [line.text("instruction", needed=True), line.text("input", empty=True)]
        reference = line.text("output", needed=True, empty=True)
        found.append(EvalPrompt(line.id, "\n".join(filter(None, asked)), personas, None, reference))
    return tuple(found)
