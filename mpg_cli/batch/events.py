"""What happens while a batch runs, as frozen values. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from mpg_cli.batch.lines import BadLine, Line
from mpg_cli.engine.events import Finished, Notice, Started


@dataclass(frozen=True)
class Sized:
    """How many prompts run together from now on, and why."""

    batch_size: int
    reason: str


@dataclass(frozen=True)
class LineDone:
    """A line was answered."""

    line: Line
    started: Started
    finished: Finished


@dataclass(frozen=True)
class LineFailed:
    """A line cannot be answered."""

    line: Line | BadLine
    code: str
    message: str


@dataclass(frozen=True)
class Progress:
    """Tokens committed by a round of the running lines."""

    tokens: int
    running: int


BatchEvent = Notice | Sized | LineDone | LineFailed | Progress
