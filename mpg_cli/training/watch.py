"""The metrics of a running training and the flag that stops it. Independent of trainer and terminal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

WINDOW = 10  # steps averaged in the displayed figures


@dataclass(frozen=True)
class Figures:
    """Training metrics: loss and, for pairs, reward margin (β times nats) and accuracy of preference.

    For single replies `accuracy` is the token accuracy and there is no margin.
    """

    loss: float
    accuracy: float | None = None
    margin: float | None = None

    @property
    def finite(self) -> bool:
        return all(math.isfinite(value) for value in (self.loss, self.margin or 0.0))

    def summary(self, *, brief: bool = False) -> str:
        """A short text."""
        parts = [f"loss {self.loss:.3f}"]
        if self.margin is not None:
            parts.append(f"{'' if brief else 'reward '}margin {self.margin:.2f}")
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.2f}")
        return ", ".join(parts)


class Display(Protocol):
    """Shows the progress of a run."""

    def stage(self, text: str) -> None:
        """The current stage other than training steps."""

    def phase(self, text: str) -> None:
        """The phase of training that the steps from now on belong to."""

    def step(self, done: int, total: int, figures: Figures | None) -> None:
        """`done` of `total` steps, with the figures of the last ones, if any."""

    def stopping(self) -> None:
        """The run will end after the current step. Called in a signal handler, so it must not write."""


class Watch:
    """Connects a run and its caller: metrics to the display, stop requests to the run."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.stopping = False
        self._recent: deque[Figures] = deque(maxlen=WINDOW)

    def stop(self, reason: str) -> None:
        """Request the run to end after the current step, with a checkpoint."""
        self.stopping = True
        self.display.stopping()

    def phase(self, text: str) -> None:
        """A phase of training begins, whose figures do not compare with those before."""
        self._recent.clear()
        self.display.phase(text)

    def step(self, done: int, total: int, figures: Figures) -> None:
        self._recent.append(figures)
        self.display.step(done, total, self.recent())

    def recent(self) -> Figures | None:
        """Means over the last steps."""
        return weighted([(1, figures) for figures in self._recent]) if self._recent else None


def weighted(parts: Sequence[tuple[int, Figures]]) -> Figures:
    """Weighted means of figures; missing values are skipped."""

    def mean(values: Iterable[tuple[int, float | None]]) -> float | None:
        known = [(weight, value) for weight, value in values if value is not None]
        total = sum(weight for weight, _ in known)
        return sum(weight * value for weight, value in known) / total if known else None

    return Figures(
        loss=mean((weight, figures.loss) for weight, figures in parts) or 0.0,
        accuracy=mean((weight, figures.accuracy) for weight, figures in parts),
        margin=mean((weight, figures.margin) for weight, figures in parts),
    )
