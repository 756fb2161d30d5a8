"""The summary of a finished run, as an object and as text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpg_cli.personas.persona_file import Destination
from mpg_cli.training.settings import Settings
from mpg_cli.training.watch import Figures

if TYPE_CHECKING:
    from mpg_cli.training.heard import Heard


@dataclass(frozen=True)
class Summary:
    """The result of a run with its data and metrics; `use` is the command that uses the new persona."""

    where: Destination
    settings: Settings
    rows: Mapping[str, int]  # read, left_out, too_long, cut, trained, held_out
    steps: int
    resumed_at: int
    seconds: float
    train: Figures | None
    held_out: Figures | None
    use: tuple[str, ...]
    heard: Heard | None = None  # None: no replies were sampled

    def as_dict(self) -> dict[str, Any]:
        """For `--format json`."""
        return {
            "persona": self.where.name,
            "base": self.where.base,
            "file": str(self.where.file),
            "adapter": str(self.where.adapter),
            "rows": dict(self.rows),
            "steps": self.steps,
            "resumed_at": self.resumed_at or None,
            "seconds": round(self.seconds, 1),
            "train": _figures(self.train, self.settings),
            "held_out": _figures(self.held_out, self.settings),
            "heard": self.heard.as_dict() if self.heard is not None else None,
            "settings": self.settings.as_dict(),
        }

    def as_text(self) -> str:
        """Text for the terminal, one fact per line."""
        unit = "pairs" if self.settings.method == "dpo" else "rows"
        rows = f"{self.rows['trained']} {unit}, {self.steps} steps in {_clock(self.seconds)}"
        if self.resumed_at:
            rows += f" (resumed at step {self.resumed_at})"
        lines = [f"persona {self.where.name} for {self.where.base}: {self.where.file}", rows]
        if self.train is not None:
            lines.append(f"training, last steps: {self.train.summary()}")
        if self.held_out is not None:
            what = "accuracy" if self.settings.method == "dpo" else "token accuracy"
            share = self.held_out.accuracy
            shown = "unknown" if share is None else f"{share:.0%}"
            lines.append(
                f"held out, {self.rows['held_out']} {unit}: {what} {shown} ({self.held_out.summary()})"
            )
        else:
            lines.append("no rows were held out, so there is no accuracy on new prompts")
        if self.heard is not None:
            lines += self.heard.lines()
        return "\n".join([*lines, f"try it: {shlex.join(self.use)}"])


def _figures(figures: Figures | None, settings: Settings) -> dict[str, float | None] | None:
    if figures is None:
        return None
    shown: dict[str, float | None] = {"loss": figures.loss, "accuracy": figures.accuracy}
    if figures.margin is not None:
        shown |= {"reward_margin": figures.margin, "margin_nats": figures.margin / settings.beta}
    return shown


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
